"""What the page shows of each head: tables and charts of its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from llmrec_peft.artifact.figures import NO_BETTER, figure_rows, legend, spelled
from llmrec_peft.evaluation.slices import BOUNDS
from llmrec_peft.page.charts import Dot, dots, groups
from llmrec_peft.page.earned import Part, ahead, answering, difference_of, lower_is_better, parts_of, tone, verdict
from llmrec_peft.page.numbers import count, figure, share, signed
from llmrec_peft.page.run_report import HeadReport

_OF_RATINGS = ("rmse", "mae")
_CALLED = {"before": "before tuning", "after": "tuned", "blend": "tuned and blended", "recommended": "recommended"}


@dataclass(frozen=True)
class ModelRow:
    """A model in the table: its name, figures, the difference to the model that answers, and whether it is that."""

    label: str
    figures: Sequence[str]
    difference: str
    answers: bool


@dataclass(frozen=True)
class CandidateRow:
    """A model that cross-validation considered: name, figure, share of the baseline, gain, and what became of it."""

    name: str
    figure: str
    share: str
    gain: str
    outcome: str


@dataclass(frozen=True)
class SliceRow:
    """A slice in the table: its name, its examples and figures."""

    name: str
    figures: Sequence[str]


@dataclass(frozen=True)
class ShownHead:
    """What the page shows of a head."""

    name: str
    metric: str
    direction: str
    left: str
    ours: str
    best: str
    verdict: str
    tone: str
    says: Sequence[str]
    metrics: Sequence[str]
    rows: Sequence[ModelRow]
    compared: bool
    interval_note: str
    legend: Sequence[str]
    models_chart: Markup
    differences_chart: Markup | None
    parts: Sequence[Part]
    candidates: Sequence[CandidateRow]
    slices: Sequence[SliceRow]
    slice_models: Sequence[str]
    slices_chart: Markup | None
    counted: str


def shown_head(name: str, report: HeadReport, adapted: bool = True) -> ShownHead:
    """Lay out the figures of a head.

    Args:
        name: Its name.
        report: Its figures.
        adapted: Whether the language model was tuned, and not heads and signals alone.

    Raises:
        KeyError: If a model of the test part has no figures on validation, or lacks the primary metric where it is
            needed.
    """
    plain = report.model_dump()
    metric, ours = report.primary_metric, answering(report)
    lower = lower_is_better(metric)
    rows = figure_rows(plain)
    after = plain["test"][ours]
    metrics = [metric, *(one for one in after if one != metric and not one.endswith("_left_out"))]
    table = []
    for row in rows:
        difference = difference_of(report, ours, row.key)
        figures = [figure(row.valid.get(metric)), *(figure(row.test.get(one)) for one in metrics)]
        said = "" if difference is None else f"{difference}{'' if difference.significant else ' ='}"
        table.append(
            ModelRow(
                row.label.replace(f" {NO_BETTER}", f"\N{NO-BREAK SPACE}{NO_BETTER}"), figures, said, row.key == ours
            )
        )
    compared = any(row.difference for row in table)
    best = report.best_baseline
    line = report.test.baselines.get(best or "", {}).get(metric)
    labelled = [Dot(row.label, row.test[metric], _kind(row.key, report)) for row in rows if metric in row.test]
    slices, models = _slices(plain, metric, best, ours)
    says, better = report.recommended.says, ahead(report)
    return ShownHead(
        name=name,
        metric=metric,
        direction="lower" if lower else "higher",
        left="better" if lower else "worse",
        ours=_CALLED[ours],
        best=spelled(best) if best else "",
        verdict=verdict(report),
        tone=tone(report),
        says=[line for line in (better, says) if line],
        metrics=metrics,
        rows=table,
        compared=compared,
        interval_note=_interval_note(report) if compared else "",
        legend=[text for text in legend(plain) if text != says],
        models_chart=dots(f"{metric} of every model", labelled, line, "the best baseline"),
        differences_chart=_differences(report, [row.key for row in rows], ours),
        parts=parts_of(report, adapted),
        candidates=_candidates(report),
        slices=slices,
        slice_models=models,
        slices_chart=_slices_chart(plain, metric, best, ours),
        counted=_counted(metric),
    )


def _kind(key: str, report: HeadReport) -> str:
    if key in ("after", "recommended"):
        return "ours"
    if key == "before":
        return "before"
    return "baseline" if key in report.test.baselines else "other"


def _interval_note(report: HeadReport) -> str:
    units = {spelled(unit.removeprefix("by_")) for one in report.comparisons.values() for unit in one}
    named = " or ".join(f"{unit}s" for unit in sorted(units))
    return (
        f"In brackets: 95 % interval of the paired bootstrap over {named}, the wider of those there are; = means that"
        " an interval contains zero."
    )


def _differences(report: HeadReport, keys: Sequence[str], ours: str) -> Markup | None:
    found = [(key, difference_of(report, ours, key)) for key in keys]
    rows = [
        Dot(f"minus {_CALLED.get(key, spelled(key))}", one.difference, _kind(key, report), one.low, one.high)
        for key, one in found
        if one is not None
    ]
    title = f"{report.primary_metric}: {_CALLED[ours]} minus each other model"
    return dots(title, rows, 0.0, "no difference") if rows else None


def _candidates(report: HeadReport) -> list[CandidateRow]:
    """Return what cross-validation found of each model that could have answered."""
    rows = []
    for name, one in report.recommended.candidates.items():
        gain, share_of = one.better_than_baseline, one.share_of_baseline
        said = "–" if gain is None else f"{signed(gain.gain)} [{signed(gain.low)}, {signed(gain.high)}]"
        outcome = one.left_because or ("earns its place" if one.earns_its_place else "does not earn its place")
        called = _CALLED.get(name, spelled(name))
        rows.append(
            CandidateRow(called, figure(one.figure), "–" if share_of is None else share(share_of), said, outcome)
        )
    return rows


def _models_of(best: str | None, ours: str) -> list[tuple[str, str, str]]:
    """Return the models that slices show: key, name and mark."""
    shown = [] if best is None else [(best, f"best baseline: {spelled(best)}", "baseline")]
    return [*shown, ("before", _CALLED["before"], "before"), (ours, _CALLED[ours], "ours")]


def _of_slice(found: Mapping[str, Any], key: str, metric: str) -> float | None:
    row = found["baselines"].get(key) or found.get(key) or {}
    value: float | None = row.get(metric) if isinstance(row, Mapping) else None
    return value


def _slice_called(name: str, metric: str) -> str:
    """Return what people read of a slice; what its items have is called ratings only where ratings are predicted."""
    return spelled(name).replace("ratings", _counted(metric)) if name in BOUNDS else spelled(name)


def _counted(metric: str) -> str:
    """Return what the interactions of an item are called, from the head's primary metric."""
    return "ratings" if metric in _OF_RATINGS else "interactions"


def _slices(plain: Mapping[str, Any], metric: str, best: str | None, ours: str) -> tuple[list[SliceRow], list[str]]:
    models = _models_of(best, ours)
    rows = [
        SliceRow(
            _slice_called(name, metric),
            [count(found["n"]), *(figure(_of_slice(found, key, metric)) for key, _, _ in models)],
        )
        for name, found in plain["slices"].items()
    ]
    return rows, [called for _, called, _ in models]


def _slices_chart(plain: Mapping[str, Any], metric: str, best: str | None, ours: str) -> Markup | None:
    rows = []
    for name, found in plain["slices"].items():
        values = [(called, _of_slice(found, key, metric), mark) for key, called, mark in _models_of(best, ours)]
        some = [Dot(called, value, mark) for called, value, mark in values if value is not None]
        if some:
            rows.append((f"{_slice_called(name, metric)} ({count(found['n'])})", some))
    return groups(f"{metric} by slice", rows) if rows else None
