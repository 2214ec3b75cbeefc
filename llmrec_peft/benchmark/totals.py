"""Totals: what follows from a report's rows: means and spreads over seeds, and which groups beat their baseline."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from llmrec_peft.benchmark.grouping import Group, groups_of
from llmrec_peft.benchmark.rows import Row
from llmrec_peft.benchmark.sections import BEST_BASELINE


def totals(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return, for each group of rows over seeds, the figures of its tuned model and of its best baseline.

    Returns:
        For each group ``axes``, ``runs`` (how many), ``metric``, ``valid``, ``test`` and ``best_baseline_test`` (each
        with ``mean`` and ``spread``, the standard deviation over runs; null for none), and ``beats_best_baseline``
        (null where there is no baseline).
    """
    return [_total(group) for group in groups_of(rows)]


def _total(group: Group) -> dict[str, Any]:
    metric = group.accuracy["metric"]
    compared = group.values("test", "after", metric) and group.values("test", BEST_BASELINE, metric)
    return {
        "axes": dict(group.axes),
        "runs": len(group.rows),
        "metric": metric,
        "valid": _mean(group.values("valid", "after", metric)),
        "test": _mean(group.values("test", "after", metric)),
        "best_baseline_test": _mean(group.values("test", BEST_BASELINE, metric)),
        "beats_best_baseline": not group.loses("after", metric) if compared else None,
    }


def _mean(values: Sequence[float]) -> dict[str, float | None] | None:
    if not values:
        return None
    return {"mean": statistics.mean(values), "spread": statistics.stdev(values) if len(values) > 1 else None}
