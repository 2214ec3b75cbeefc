"""Report: the figures of a run's outcomes, in the layout of ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.intervals import paired_intervals
from llmrec_peft.evaluation.measures import Measure, better
from llmrec_peft.evaluation.outcomes import Outcome
from llmrec_peft.evaluation.slices import slices

Outcomes = Mapping[str, Outcome]
OURS = ("before", "after", "blend", "recommended")
"""Models of a run beside baselines and ablations."""


@dataclass(frozen=True)
class Rows:
    """Which of a report's models are what.

    Attributes:
        baselines: Names of baselines.
        ablations: Names of ablations.
        best_baseline: The trivial baseline that is best on validation; None where there is none.
    """

    baselines: Sequence[str]
    ablations: Sequence[str]
    best_baseline: str | None = None


def figures(outcomes: Outcomes, part: Interactions, measure: Measure, rows: Rows) -> dict[str, Any]:
    """Figures of every model: ``before``, ``after``, ``blend``, ``baselines`` and ``ablations``."""
    return nested({name: measure.report(outcome, part) for name, outcome in outcomes.items()}, rows)


def slice_figures(
    outcomes: Outcomes,
    part: Interactions,
    measure: Measure,
    training_count: NDArray[np.int64],
    kinds: Sequence[str] | None,
    rows: Rows,
) -> dict[str, Any]:
    """Figures on items with no, few and many training interactions, and on the owner's kinds of records."""
    report = {}
    for name, found in slices(outcomes, part, measure, training_count, kinds).items():
        size = found.pop("n")
        report[name] = {"n": size, **(nested(found, rows) if found else {})}
    return report


def comparisons(
    outcomes: Outcomes, part: Interactions, measure: Measure, metric: str, resamples: int, rows: Rows
) -> dict[str, Any]:
    """Paired intervals of the primary metric, resampling users and items.

    `after` against every other model, and where there is a blend with the best baseline, the blend against that
    baseline alone: what the model adds to it. What is recommended, where that was chosen, against every other model.
    """
    if resamples == 0:
        return {}
    pairs = [("after", name) for name in outcomes if name not in ("after", "blend")]
    if "recommended" in outcomes:
        pairs += [("recommended", name) for name in outcomes if name != "recommended"]
    if "blend" in outcomes and rows.best_baseline is not None:
        pairs += [("blend", rows.best_baseline), ("blend", "after")]
    weighted = {name: measure.weighted(metric, outcome, part) for name, outcome in outcomes.items()}
    found: dict[str, dict[str, Any]] = {f"{first}_minus_{second}": {} for first, second in pairs}
    for unit, cluster in measure.clusters(metric, part).items():
        intervals = paired_intervals(weighted, pairs, cluster, resamples)
        for name, interval in zip(found, intervals, strict=True):
            found[name][unit] = interval.plain()
    return found


def losing(report: Mapping[str, Any], metric: str, rows: Rows) -> list[str]:
    """Name the models whose primary figure is no better than that of the best baseline."""
    if rows.best_baseline is None:
        return []
    bar = report["baselines"][rows.best_baseline][metric]
    named = {name: report[name] for name in OURS if name in report}
    named |= report.get("ablations", {})
    named |= {name: row for name, row in report["baselines"].items() if name != rows.best_baseline}
    return [name for name, row in named.items() if metric not in row or not better(metric, row[metric], bar)]


def nested(reports: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """Reports of all models in the layout of ``metrics.json``."""
    found: dict[str, Any] = {name: reports[name] for name in OURS if name in reports}
    found["baselines"] = {name: reports[name] for name in rows.baselines}
    if rows.ablations:
        found["ablations"] = {name: reports[name] for name in rows.ablations if name in reports}
    return found
