"""What earned its place: each part of a run against the run without it, and the run against the best baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmrec_peft.artifact.figures import spelled
from llmrec_peft.evaluation.intervals import no_difference, wider
from llmrec_peft.evaluation.measures import better
from llmrec_peft.page.numbers import signed
from llmrec_peft.page.run_report import HeadReport

_PERPLEXITY = "perplexity"
"""The metric of writers, which no measure of predictions has."""


@dataclass(frozen=True)
class Difference:
    """A difference of the primary metric between two models, with the wider of its 95 % intervals.

    Attributes:
        difference: First minus second.
        low: Lower end.
        high: Upper end.
        unit: What was resampled, such as ``user``.
        clusters: How many of them there are.
        significant: Whether no interval contains zero.
        improves: Whether the first is the better one.
    """

    difference: float
    low: float
    high: float
    unit: str
    clusters: int
    significant: bool
    improves: bool

    @property
    def verdict(self) -> str:
        """What the interval says, in words."""
        if not self.significant:
            return "no significant difference"
        return "significantly better" if self.improves else "significantly worse"

    def __str__(self) -> str:
        return f"{signed(self.difference)} [{signed(self.low)}, {signed(self.high)}] by {self.unit}"


@dataclass(frozen=True)
class Part:
    """A part of a run, and what it adds.

    Attributes:
        name: What it is.
        against: Which two models are compared.
        difference: With the part minus without it.
    """

    name: str
    against: str
    difference: Difference

    @property
    def earned(self) -> str:
        """Whether it earned its place."""
        if not self.difference.significant:
            return "not shown: the interval contains zero"
        return "yes" if self.difference.improves else "no: it makes the run worse"


def difference_of(report: HeadReport, first: str, second: str) -> Difference | None:
    """Return the difference between two models of a head; None where the run did not compare them."""
    intervals = report.comparisons.get(f"{first}_minus_{second}")
    if not intervals:
        return None
    plain: Mapping[str, Any] = {unit: one.model_dump() for unit, one in intervals.items()}
    unit = wider(plain)
    widest = intervals[unit]
    return Difference(
        widest.difference,
        widest.low,
        widest.high,
        spelled(unit.removeprefix("by_")),
        widest.clusters,
        not no_difference(plain),
        lower_is_better(report.primary_metric) == (widest.difference < 0.0),
    )


def lower_is_better(metric: str) -> bool:
    """Return whether a smaller figure is the better one."""
    return metric == _PERPLEXITY or better(metric, 0.0, 1.0)


def answering(report: HeadReport) -> str:
    """Return the model that answers: what the run recommends, where it says so, else the tuned one."""
    return "recommended" if "recommended" in report.test.own else "after"


def verdict(report: HeadReport) -> str:
    """Return in one sentence how the model that answers does against the best baseline."""
    best, ours = report.best_baseline, answering(report)
    if best is None or best not in report.test.baselines:
        return "There is no baseline to compare with."
    found, name = difference_of(report, ours, best), spelled(best)
    what = "What is recommended" if ours == "recommended" else "The tuned model"
    if found is None:
        worse = ours in report.no_better_than_best_baseline
        return f"{what} is {'no better' if worse else 'better'} than the best baseline, {name}, on this test part."
    if not found.significant:
        return f"{what} cannot be told from the best baseline, {name}: {found} (the interval contains zero)."
    return f"{what} is {found.verdict} than the best baseline, {name}: {found}."


def tone(report: HeadReport) -> str:
    """Return how the verdict is meant: ``better``, ``worse`` or ``unclear``."""
    found = None if report.best_baseline is None else difference_of(report, answering(report), report.best_baseline)
    if found is None or not found.significant:
        return "unclear"
    return "better" if found.improves else "worse"


def ahead(report: HeadReport) -> str | None:
    """Return which other baselines are significantly better than the model that answers; None if none is.

    The best baseline is chosen on validation, among those that need no training of vectors; others may do better.
    """
    ours = answering(report)
    found = []
    for name in report.test.baselines:
        one = difference_of(report, ours, name)
        if name != report.best_baseline and one is not None and one.significant and not one.improves:
            found.append(spelled(name))
    return f"Significantly better than it on this test part: {', '.join(found)}." if found else None


def parts_of(report: HeadReport, adapted: bool = True) -> list[Part]:
    """Return what each part of a run adds, where the run measured it.

    Tuning is held against the untuned language model, a signal or the adapter against the run without it, the language
    model against the collaborative part alone, and the blend against the tuned model.

    Args:
        report: Figures of a head.
        adapted: Whether the language model was tuned, and not heads and signals alone.
    """
    best, ours = report.best_baseline, answering(report)
    tuning = "tuning the language model" if adapted else "training heads and signals"
    asked = [("learning from newer data" if report.before == "run" else tuning, "after", "before")]
    asked += [(spelled(name.removeprefix("without_")), "after", name) for name in report.test.ablations]
    asked += [("texts, beside collaborative signals", "after", "collaborative_only")]
    asked += [("blending with the best baseline", "blend", "after")]
    if best is not None:
        asked.append(("the model, beside the best baseline", "blend", best))
        asked.append(("the run as a whole, against the best baseline", ours, best))
    found = ((name, first, second, difference_of(report, first, second)) for name, first, second in asked)
    return [Part(name, f"{spelled(first)} minus {spelled(second)}", one) for name, first, second, one in found if one]
