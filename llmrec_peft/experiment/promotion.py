"""Promotion: is an updated run better than it was, on the newest interactions and on old ones?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from llmrec_peft.artifact.lineage import Compared
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.intervals import no_difference, paired_interval, wider
from llmrec_peft.evaluation.measures import better

if TYPE_CHECKING:
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.evaluation.outcomes import Outcome
    from llmrec_peft.experiment.head_outcomes import HeadOutcomes
    from llmrec_peft.experiment.prepared import Prepared

RESAMPLES = 2000
"""Resamples where the recipe asks for fewer: without intervals nothing is promoted."""


def compared(outcomes: HeadOutcomes, prepared: Prepared) -> tuple[Compared, Compared]:
    """Compare ``after`` with ``before``, on the newest window (test) and on the old one (validation).

    Raises:
        InputError: If the metric is undefined on a window.
    """
    resamples = max(RESAMPLES, prepared.protocol.bootstrap)
    return (
        _compared(outcomes, outcomes.test, prepared.test, resamples),
        _compared(outcomes, outcomes.valid, prepared.valid, resamples),
    )


def promotes(newest: Compared, old: Compared) -> bool:
    """Return whether an update is significantly better on the newest window, and not significantly worse on the old."""
    return newest.verdict == "better" and old.verdict != "worse"


def reason(newest: Compared, old: Compared) -> str:
    """Say why an update is promoted, or why it is not."""
    if newest.verdict != "better":
        return f"on the newest interactions it is {_said(newest)}"
    if old.verdict == "worse":
        return "it is better on the newest interactions, and significantly worse on old ones: it forgets"
    return f"it is significantly better on the newest interactions, and on old ones {_said(old)}"


def _said(one: Compared) -> str:
    return "not significantly different" if one.verdict == "no difference" else f"significantly {one.verdict}"


def _compared(outcomes: HeadOutcomes, models: dict[str, Outcome], part: Interactions, resamples: int) -> Compared:
    measure, metric = outcomes.measure, outcomes.metric
    try:
        figures = {name: measure.weighted(metric, models[name], part) for name in ("after", "before")}
        intervals = {
            unit: paired_interval(figures["after"], figures["before"], cluster, resamples).plain()
            for unit, cluster in measure.clusters(metric, part).items()
        }
    except ValueError as error:
        raise InputError(f"metric {metric} on {len(part)} examples: {error}; a larger update.window has more") from None
    values = {name: measure.report(models[name], part)[metric] for name in figures}
    verdict: Literal["better", "worse", "no difference"] = "no difference"
    if not no_difference(intervals):
        verdict = "better" if better(metric, values["after"], values["before"]) else "worse"
    widest = intervals[wider(intervals)]
    return Compared(
        examples=len(part),
        before=values["before"],
        after=values["after"],
        low=float(widest["low"]),
        high=float(widest["high"]),
        verdict=verdict,
    )
