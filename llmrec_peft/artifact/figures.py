"""Rows of a run's figures as people read them: what each model is called, and which are no better than a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NO_BETTER = "▼"
"""Mark of a model that is no better than the best baseline, in every table and in the model card."""
NO_ADAPTER = "tuned: heads and signals only"
"""What is said of a run without adapter parameters: the language model answers as it was published."""
AS_IT_WAS = "before: the run as it was"
"""What ``before`` is in the report of an update."""
MERGED = {"before": "before: the first run as it was", "after": "after: merged"}
"""What ``before`` and ``after`` are in the report of a merge."""
_OURS = {
    "before": "before: frozen text",
    "after": "after: tuned",
    "blend": "after: blended",
    "recommended": "recommended",
}


@dataclass(frozen=True)
class FigureRow:
    """A model's figures.

    Attributes:
        key: Name in ``metrics.json``, such as ``without_adapter``.
        label: Name for people, marked where the model is no better than the best baseline.
        valid: Validation metrics by name.
        test: Test metrics by name.
    """

    key: str
    label: str
    valid: Mapping[str, float]
    test: Mapping[str, float]


def figure_rows(report: Mapping[str, Any]) -> list[FigureRow]:
    """Return a row for each model of a head's report: baselines, then the run's own models, then its ablations."""
    valid, test = report["valid"], report["test"]
    told = {"run": {"before": AS_IT_WAS}, "unmerged": MERGED}.get(str(report.get("before")), {})
    ours = {**_OURS, **told}
    rows = [
        *((key, spelled(key), "baselines") for key in test["baselines"]),
        *((key, label, "") for key, label in ours.items() if key in test),
        *((key, spelled(key), "ablations") for key in test.get("ablations", {})),
    ]
    scored = "after" in valid or report.get("before") != "unmerged"  # a merged run may have learned from validation
    worse = report.get("no_better_than_best_baseline", ())
    return [
        FigureRow(
            key,
            marked(label, key in worse),
            {} if not scored else (valid[group] if group else valid)[key],
            test[group][key] if group else test[key],
        )
        for key, label, group in rows
    ]


def legend(report: Mapping[str, Any]) -> list[str]:
    """Return the lines below the rows: what the mark means, and with which share the best baseline is blended in."""
    best = report.get("best_baseline")
    if best is None:
        return []
    lines = []
    says = report.get("recommended", {}).get("says")
    if says:
        lines.append(says)
    if report.get("no_better_than_best_baseline"):
        metric = report["primary_metric"]
        lines.append(no_better_than(f"{spelled(best)} ({metric} {report['test']['baselines'][best][metric]:.4f})"))
    share = report.get("blend_share_of_best_baseline")
    if share is not None:
        lines.append(f"blended: with the best baseline, {spelled(best)}; its share, chosen on validation: {share:g}")
    return lines


def marked(label: str, no_better: bool) -> str:
    """Return a model's name, with the mark behind it where it is no better than the best baseline.

    >>> marked("user mean", True), marked("after: tuned", False)
    ('user mean ▼', 'after: tuned')
    """
    return f"{label} {NO_BETTER}" if no_better else label


def no_better_than(baseline: str) -> str:
    """Return the legend line of the mark.

    >>> no_better_than("bias (rmse 0.9542)")
    '▼ no better than the best baseline, bias (rmse 0.9542)'
    """
    return f"{NO_BETTER} no better than the best baseline, {baseline}"


def spelled(key: str) -> str:
    """Return a model's key as words.

    >>> spelled("biased_mf")
    'biased mf'
    """
    return key.replace("_", " ")
