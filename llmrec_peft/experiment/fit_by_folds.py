"""Fit by folds: cross-validation chooses, then every variant of a report is trained once, the chosen one staged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrec_peft.evaluation.baselines.foldable import foldable_baselines
from llmrec_peft.experiment.baselines import baselines_of
from llmrec_peft.experiment.fitting import FittedVariant, scoring
from llmrec_peft.experiment.head_outcomes import HeadOutcomes
from llmrec_peft.experiment.recommendation import by_folds as told
from llmrec_peft.experiment.recommending import ByFolds, baseline_row, cross_validated, fit_final, recommended
from llmrec_peft.experiment.staging import recommender_of, stage
from llmrec_peft.model.warm_start import trained_tensors

if TYPE_CHECKING:
    from llmrec_peft.experiment.experiment import Experiment
    from llmrec_peft.experiment.texts import Texts


@dataclass(frozen=True)
class FittedByFolds:
    """What was fitted where cross-validation chose.

    Attributes:
        fitted: The final variants by name; ``after`` is always among them.
        outcomes: What the head's models predicted.
        weights: Plain figures of the tuned model's parts.
        recommendation: What is recommended, as in ``metrics.json``.
    """

    fitted: Mapping[str, FittedVariant]
    outcomes: HeadOutcomes
    weights: Mapping[str, Any]
    recommendation: Mapping[str, Any]


def fit_by_folds(experiment: Experiment, texts: Texts) -> FittedByFolds:
    """Choose by cross-validation, train every variant on all that it may learn from, and predict test once with each.

    The chosen variant is staged as soon as it has been reported: the next one trains the same adapter anew.
    """
    prepared, recipe = experiment.prepared, experiment.recipe
    head = recipe.head.name
    found = cross_validated(experiment)
    baselines = [*baselines_of(head, prepared, texts.items, experiment.progress), baseline_row(prepared, found)]
    outcomes = HeadOutcomes(head, prepared, baselines, blends=False)
    fitted: dict[str, FittedVariant] = {}
    weights: Mapping[str, Any] = {}
    for name in _reported(experiment, found):
        fitted[name] = fit_final(experiment, found, name)
        model = fitted[name].model
        with scoring(model, prepared.test, prepared):
            outcomes.add(name, fitted[name])
            if name == "after":
                weights = {**model.report(), head: model.head.report()}
            if name == found.served_as:
                _serve(experiment, texts, found, outcomes, fitted[name])
    if "before" not in fitted:  # nothing is tuned but a head over frozen text: one training is both
        outcomes.repeat("after", "before")
    figures = outcomes.figures_on_validation()
    names = [*(one.name for one in foldable_baselines(outcomes.task)), f"{found.chosen.baseline.name}_by_folds"]
    return FittedByFolds(fitted, outcomes, weights, told(found.chosen, figures, names))


def _reported(experiment: Experiment, found: ByFolds) -> list[str]:
    """Return the variants that are trained to the end: frozen, tuned, and without text if it is shown or served."""
    recipe = experiment.recipe
    bare = recipe.evaluation.collaborative_only and recipe.reads.primary.task != "rating"
    shown = {"before", "after", found.served_as, *(["collaborative_only"] if bare else [])}
    return [name for name in found.variants if name in shown]


def _serve(
    experiment: Experiment, texts: Texts, found: ByFolds, outcomes: HeadOutcomes, variant: FittedVariant
) -> None:
    """Predict test with what answers, and write its files."""
    prepared = experiment.prepared
    answering, section = recommended(variant, prepared, found)
    outcomes.add("recommended", answering)
    trained = trained_tensors(answering.model)
    recommender = recommender_of(answering.model, prepared, texts, section)
    if experiment.accelerator.is_main_process:
        stage(experiment.folder / "artifact", recommender, prepared, texts, trained)
