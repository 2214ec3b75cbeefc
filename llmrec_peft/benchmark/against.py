"""Against: the tuned model of a group less its best baseline or another group's, with the wider interval."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from llmrec_peft.benchmark.grouping import Group
from llmrec_peft.benchmark.noise import Difference, over_runs, paired_over_runs, to_quote
from llmrec_peft.benchmark.sections import BEST_BASELINE

Records = Sequence[Mapping[str, Any]]
"""Comparisons, as `compare_all` returns them."""


def against_best_baseline(group: Group, metric: str, records: Records) -> Difference | None:
    """Return `after` less the best baseline; None without a baseline, or without a figure of the metric.

    The interval is that of the report's comparison, if there is one; else, for the primary metric, that of the run
    whose intervals are nearest to zero; else that over runs, which says nothing of the noise of the test part.
    """
    own, best = (group.values("test", model, metric) for model in ("after", BEST_BASELINE))
    if not own or not best:
        return None
    compared = _compared(group, BEST_BASELINE, metric, records)
    if compared is not None:
        return compared
    value = statistics.mean(own) - statistics.mean(best)
    if metric == group.accuracy["metric"] and group.accuracy["slice"] is None:
        runs = [found for row in group.rows if (found := _of_run(row["accuracy"])) is not None]
        if len(runs) == len(group.rows):
            nearest = min(runs, key=_distance_from_zero)
            several = ", the seed nearest to zero" if len(runs) > 1 else ""
            return Difference(value, nearest.low, nearest.high, f"{nearest.how}{several}")
    seeds = paired_over_runs(group.by_run("test", "after", metric), group.by_run("test", BEST_BASELINE, metric))
    return Difference(value, seeds.low, seeds.high, "over seeds alone" if seeds.low is not None else "")


def against_group(first: Group, second: Group, metric: str, records: Records) -> Difference:
    """Return the tuned model of one group less that of another, on test.

    The interval is that of the report's comparison of the two, if there is one; else that over their runs.
    """
    for one, other, sign in ((first, second, 1), (second, first, -1)):
        compared = _compared(one, dict(other.axes), metric, records)
        if compared is not None and compared.low is not None and compared.high is not None:
            ends = sorted((sign * compared.low, sign * compared.high))
            return Difference(sign * compared.value, ends[0], ends[1], compared.how)
    sides = [group.by_run("test", "after", metric) for group in (first, second)]
    return over_runs(sides[0], sides[1], first.same_data and second.same_data)


def _compared(group: Group, against: Any, metric: str, records: Records) -> Difference | None:
    for record in records:
        asked = (record["first"], record["against"], record["model"], record["metric"])
        if asked == (dict(group.axes), against, "after", metric) and "left_out" not in record:
            return to_quote(record["intervals"])
    return None


def _of_run(accuracy: Mapping[str, Any]) -> Difference | None:
    """Return a run's own comparison of `after` with its best baseline."""
    intervals = accuracy.get("comparisons", {}).get(f"after_minus_{accuracy['best_baseline']}")
    return to_quote(intervals) if intervals else None


def _distance_from_zero(one: Difference) -> float:
    if not one.separated or one.low is None or one.high is None:
        return 0.0
    return min(abs(one.low), abs(one.high))
