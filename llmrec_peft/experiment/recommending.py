"""Recommending by folds: cross-validation chooses which model answers, and that model is put together."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.experiment.choice import (
    BASELINE,
    Candidate,
    Chosen,
    best_baseline,
    candidate_of,
    chosen,
    vain,
)
from llmrec_peft.experiment.cross_validation import Folds, predicted_by_baselines, predicted_by_variant
from llmrec_peft.experiment.fitting import FittedVariant, trained
from llmrec_peft.experiment.judge import Judge
from llmrec_peft.experiment.pair_answers import (
    Raw,
    beside_baseline,
    calibrate,
    calibrated,
    fit_arguments,
    observed_labels,
    uncalibrated,
)
from llmrec_peft.recipe.sections import ServedSection
from llmrec_peft.recipe.variants import collaborative_only, untuned

if TYPE_CHECKING:
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.experiment.experiment import Experiment
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.recipe import Recipe

TITLES = {"before": "frozen", "collaborative_only": "collaborative only", "after": "tuned"}
SERVED = {"before": "frozen", "collaborative_only": "collaborative_only", "after": "tuned"}
"""What each variant is called on progress bars, and in `ServedSection`."""


@dataclass(frozen=True)
class ByFolds:
    """Cross-validation of one run, done.

    Attributes:
        chosen: What it chose.
        variants: The variants that were tried, as recipes, by name.
        seconds: What it took, by name.
        examples: Examples of the first fold, the recipe's own validation part.
        baseline_valid: What the baseline predicts for them, not yet calibrated.
        asked: The examples of all folds.
    """

    chosen: Chosen
    variants: Mapping[str, Recipe]
    seconds: Mapping[str, float]
    examples: int
    baseline_valid: Raw
    asked: Interactions

    @property
    def served_as(self) -> str:
        """Name of the variant whose parts are served: where the baseline answers alone, the simplest one."""
        return self.chosen.model if self.chosen.model != BASELINE else next(iter(self.variants))


def cross_validated(experiment: Experiment) -> ByFolds:
    """Try every baseline and variant on the folds, and choose."""
    prepared, recipe = experiment.prepared, experiment.recipe
    head = recipe.head.name
    folds = Folds.of(prepared)
    bare = recipe.reads.heads[head]
    observed = observed_labels(folds.asked, prepared)
    span, task = prepared.dataset.rating_range, str(bare.task)
    judge = Judge(folds, prepared.measures[head], str(bare.metric), span, task, observed)
    started = time.monotonic()
    experiment.progress.note(
        f"validation has {len(prepared.valid)} examples: {len(folds)} folds with {len(folds.asked)} choose what answers"
    )
    baseline, of_baseline = best_baseline(predicted_by_baselines(folds, head), observed, task)
    seconds = {BASELINE: time.monotonic() - started}
    variants = _variants(recipe)
    candidates: dict[str, Candidate] = {}

    for name, variant in variants.items():
        out = predicted_by_variant(experiment, folds, variant, f"folds/{name}", TITLES[name], vain(of_baseline, judge))
        candidates[name] = candidate_of(name, out, of_baseline, judge)
        seconds[name] = out.seconds
    found = chosen(baseline, of_baseline, candidates, judge, len(folds))
    size = len(folds.parts[0].valid)
    return ByFolds(found, variants, seconds, size, of_baseline[:size], folds.asked)


def _variants(recipe: Recipe) -> dict[str, Recipe]:
    """Return the variants to try, simple first; what is the same as another one is tried once."""
    found = {"before": untuned(recipe), "collaborative_only": collaborative_only(recipe), "after": recipe}
    return {
        name: variant
        for name, variant in found.items()
        if variant is not None and (name == "after" or variant != recipe)
    }


def fit_final(experiment: Experiment, by_folds: ByFolds, name: str) -> FittedVariant:
    """Train a variant on all that the final model may learn from, for the epochs that the folds chose."""
    prepared, protocol = experiment.prepared, experiment.protocol
    recipe, candidate = by_folds.variants[name], by_folds.chosen.candidates[name]
    recounts = recipe.refits and recipe.training.refit == "recount"
    learned = protocol.train if recounts else protocol.learned
    model, search = trained(experiment, recipe, f"{name}/final", TITLES[name], learned, epochs=candidate.epochs)
    if recounts:
        for signal in model.signals.values():
            signal.remember(protocol.learned)
    head = recipe.head.name
    calibrate(model, prepared, candidate.alone, by_folds.asked)
    valid = calibrated(model, prepared, candidate.alone[: by_folds.examples])
    seconds = by_folds.seconds[name] + search.seconds
    return FittedVariant(
        model, replace(search, best_epoch=candidate.epochs), {head: valid}, seconds, search.peak_rss_mb
    )


def recommended(fitted: FittedVariant, prepared: Prepared, by_folds: ByFolds) -> tuple[FittedVariant, ServedSection]:
    """Put together what answers: the chosen variant with its share of the baseline.

    Args:
        fitted: The variant of `ByFolds.served_as`; its calibrator is fitted anew, so it has to be reported before.
        prepared: Data.
        by_folds: What was chosen.
    """
    found, head = by_folds.chosen, prepared.recipe.head.name
    share = found.share
    model = fitted.model
    raw = by_folds.baseline_valid
    if found.model != BASELINE:
        candidate = found.candidates[found.model]
        raw = candidate.blend[: by_folds.examples]
    section = ServedSection(variant=SERVED[by_folds.served_as])
    if share > 0.0:
        model = beside_baseline(model, prepared, found.baseline, share)
        section = ServedSection(
            variant=section.variant,
            share=share,
            baseline=found.baseline.name,
            settings=dict(found.baseline.settings),
        )
    calibrate(model, prepared, _out_of_fold(by_folds), by_folds.asked)
    return replace(fitted, model=model, valid={head: calibrated(model, prepared, raw)}), section


def _out_of_fold(by_folds: ByFolds) -> Raw:
    found = by_folds.chosen
    return found.of_baseline if found.model == BASELINE else found.candidates[found.model].blend


def baseline_row(prepared: Prepared, by_folds: ByFolds) -> Baseline:
    """Return the baseline that the folds chose as a row of the report."""
    found, test = by_folds.chosen.baseline, prepared.test
    raw = found.fit(*fit_arguments(prepared.protocol.learned, prepared)).predict(test.user, test.item)
    head = prepared.recipe.head.name
    valid, answers = (uncalibrated(one, prepared, head) for one in (by_folds.baseline_valid, raw))
    return Baseline(f"{found.name}_by_folds", dict(found.settings), valid, answers)
