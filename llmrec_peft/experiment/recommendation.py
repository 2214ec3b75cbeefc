"""Recommendation: what a run recommends and why, as plain values for ``metrics.json`` and in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmrec_peft.evaluation.intervals import no_difference
from llmrec_peft.evaluation.measures import better
from llmrec_peft.experiment.choice import BASELINE, Candidate, Chosen

if TYPE_CHECKING:
    from llmrec_peft.experiment.served_blend import ServedShare

NAMES = {"before": "frozen text", "collaborative_only": "the model without text", "after": "the tuned model"}
"""What each variant is called in a sentence."""


def by_validation(found: ServedShare | None = None, metric: str = "") -> dict[str, Any]:
    """Return the recommendation of a run whose epochs validation chose.

    Args:
        found: The baseline that answers beside the tuned model; None where that answers alone.
        metric: The primary metric.
    """
    told = {"chosen_by": "validation", "model": "after", "share_of_baseline": 0.0}
    if found is None:
        return told
    gain, name = found.over_model, found.baseline.replace("_", " ")
    alone = found.share == 1.0
    what = (
        f"the baseline alone ({name})" if alone else f"the tuned model with {found.share:.0%} of the baseline ({name})"
    )
    return {
        **told,
        "model": BASELINE if alone else told["model"],
        "share_of_baseline": found.share,
        "baseline": found.baseline,
        "baseline_settings": dict(found.settings),
        "says": (
            f"recommended: {what}; better than the tuned model alone by {gain.gain:.4f} [{gain.low:.4f},"
            f" {gain.high:.4f}] {metric} over {found.examples} examples of validation, which chose it"
        ),
    }


def held_against_baseline(recommended: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recommendation that says so where the best baseline is better on test than what answers.

    Args:
        recommended: The recommendation.
        report: The head's part of ``metrics.json``.
    """
    best, metric, test = report["best_baseline"], report["primary_metric"], report["test"]
    ours = "recommended" if "recommended" in test else "after"
    if best is None or ours not in test or not better(metric, test["baselines"][best][metric], test[ours][metric]):
        return dict(recommended)
    intervals = report["comparisons"].get(f"{ours}_minus_{best}", {})
    if intervals and no_difference(intervals):
        return dict(recommended)
    what = "what is served" if ours == "recommended" else "the tuned model, which is served"
    told = (
        f"the best baseline, {best.replace('_', ' ')}, is {'significantly ' if intervals else ''}better than {what}:"
        f" {metric} {test['baselines'][best][metric]:.4f} against {test[ours][metric]:.4f} on test"
    )
    says = [recommended["says"]] if "says" in recommended else []
    return {**recommended, "best_baseline_is_better": True, "says": "; ".join([*says, told])}


def by_folds(found: Chosen, valid: Mapping[str, float], foldable: Sequence[str]) -> dict[str, Any]:
    """Return what cross-validation chose, what every part of it adds, and which baselines cannot be served.

    Args:
        found: What was chosen.
        valid: The primary metric of every model and baseline on the recipe's own validation part, by name.
        foldable: Names of the baselines among them that could be served.
    """
    other = [
        name
        for name, figure in valid.items()
        if name not in foldable and name not in NAMES and better(found.metric, figure, valid["recommended"])
    ]
    return {
        "chosen_by": "folds",
        "model": found.model,
        "share_of_baseline": found.share,
        "baseline": found.baseline.name,
        "baseline_settings": dict(found.baseline.settings),
        "folds": found.folds,
        "examples": found.examples,
        "candidates": {
            name: {**candidate.plain(), "earns_its_place": _earns(candidate), "left_because": found.reasons.get(name)}
            for name, candidate in found.candidates.items()
        },
        "better_on_validation_but_not_served": other,
        "says": sentence(found, other),
    }


def sentence(found: Chosen, other: Sequence[str] = ()) -> str:
    """Say in one sentence what is recommended, and what it adds to the best baseline.

    Args:
        found: What was chosen.
        other: Baselines that are better on validation and cannot be served.
    """
    baseline = found.baseline.name.replace("_", " ")
    over = f"over {found.examples} examples of {found.folds} folds"
    if found.model == BASELINE:
        said = ", ".join(f"{NAMES[name]} {_gain(found.candidates[name])}" for name in found.candidates)
        text = f"recommended: the baseline alone ({baseline}); no blend with a model earns a place {over}: {said}"
    else:
        candidate = found.candidates[found.model]
        with_baseline = f" with {candidate.share:.0%} of the baseline ({baseline})" if candidate.share > 0.0 else ""
        text = (
            f"recommended: {NAMES[found.model]}{with_baseline}; better than the baseline alone by"
            f" {_interval(candidate)} {found.metric} over {len(candidate.blend)} examples of {candidate.folds} folds"
        )
    if other:
        text += (
            f"; on validation {', '.join(name.replace('_', ' ') for name in other)} is better, which cannot be served"
        )
    return text


def _earns(candidate: Candidate) -> bool:
    """Return whether a variant's blend is better than the baseline by more than a standard error."""
    return candidate.share < 1.0 and candidate.over_baseline.exceeds_error


def _gain(candidate: Candidate) -> str:
    if candidate.share == 1.0:
        return "adds nothing" if candidate.best_share == 1.0 else "adds less than a standard error"
    return f"adds {_interval(candidate)}"


def _interval(candidate: Candidate) -> str:
    one = candidate.over_baseline
    return f"{one.gain:.4f} [{one.low:.4f}, {one.high:.4f}]"
