"""Updating: the model of a finished run before, and after a few epochs of new interactions and replayed old ones."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft.data.batches import Batch
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.baselines.average import NAME as AVERAGE
from llmrec_peft.evaluation.baselines.average import averaged, likelihoods, weights_of
from llmrec_peft.evaluation.baselines.foldable import Foldable, foldable_baselines
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.experiment.fitting import FittedVariant, new_model, sampler_of
from llmrec_peft.experiment.pair_answers import PAIRS, beside_baseline, fit_arguments, observed_labels
from llmrec_peft.experiment.ranking_blend import SERVABLE
from llmrec_peft.experiment.replay import Replay
from llmrec_peft.experiment.updated_share import as_it_was, counted_again
from llmrec_peft.model.warm_start import Grown, begin_with
from llmrec_peft.recipe.variants import served
from llmrec_peft.training.checkpoint import Checkpoint
from llmrec_peft.training.fit_result import FitResult
from llmrec_peft.training.loop import fit
from llmrec_peft.training.memory import peak_rss_mb

if TYPE_CHECKING:
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.experiment.experiment import Experiment
    from llmrec_peft.experiment.head_outcomes import HeadOutcomes
    from llmrec_peft.experiment.parent import Parent
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.experiment.texts import Texts
    from llmrec_peft.model import RecModel
    from llmrec_peft.recipe import Recipe
    from llmrec_peft.recipe.sections import ServedSection

_GROUPS = ("adapter", "embeddings", "head")


def recipe_to_update(recipe: Recipe) -> Recipe:
    """Return the recipe by which the parts that answer are trained further.

    Args:
        recipe: Recipe of the run, with what answers, and its section `update`.

    Raises:
        InputError: If the run cannot be updated.
    """
    section, training = recipe.update, recipe.training
    _require_updatable(recipe)
    changes: dict[str, object] = {
        "served": None,
        "data.split": "official",  # the newer data says itself what each interaction is for
        "data.max_items": None,
        "data.train_size": "all",
        "training.epochs": section.epochs,
        "training.adapter_epochs": min(section.epochs, section.adapter_epochs),
        "training.newest": None,
        "training.schedule": "constant",
        "training.warmup": 0.0,
        "training.patience": None,
        "training.refit": False,
        "training.choice": "validation",
        "evaluation.blend": False,
        "evaluation.ablations": [],
    }
    for group in _GROUPS:
        rate = getattr(training, group).learning_rate * section.learning_rate
        changes[f"training.{group}.learning_rate"] = min(10.0, rate)
    for name, options in recipe.signals.active.items():
        if getattr(options, "start", None) == "mf":  # rows of another factorization would not fit those of the run
            changes[f"signals.{name}.start"] = "none"
    return served(recipe).changed(changes)


def _require_updatable(recipe: Recipe) -> None:
    """Refuse recipes whose data or parts cannot go on.

    Raises:
        InputError: With the field and the reason.
    """
    head, section = recipe.reads.primary, recipe.update
    if recipe.data.history == "given" or recipe.data.expand_histories:
        raise InputError("data.history: an update makes histories of interactions; the owner's given ones do not grow")
    baseline = None if recipe.served is None else recipe.served.baseline
    if head.task == "ranking" and baseline is not None and baseline not in SERVABLE:
        raise InputError(f"served.baseline: {baseline!r} is no baseline that a ranking answers with")
    if section.distill and (recipe.reads.listwise or recipe.training.augment.mixup):
        raise InputError("update.distill: it is for ratings and clicks, without training.augment.mixup")


@dataclass(frozen=True)
class Further:
    """What both models of an update are made of.

    Attributes:
        experiment: Data, with the recipe of `recipe_to_update`, folder, device.
        texts: The language model over its texts.
        parent: The run that is updated.
        old: Number of old training interactions; they come first.
    """

    experiment: Experiment
    texts: Texts
    parent: Parent
    old: int

    @property
    def prepared(self) -> Prepared:
        """The data."""
        return self.experiment.prepared

    def model(self, train: Interactions) -> tuple[RecModel, list[str]]:
        """Make a model that begins as the run was trained, its tables grown.

        There is one adapter for all models: a later call takes it from the earlier model.

        Args:
            train: Interactions that its histories and counts are of.

        Returns:
            The model, and a line for each part that begins anew.
        """
        prepared, parent = self.prepared, self.parent
        model = new_model(prepared.recipe, prepared, train, self.texts)
        users = (parent.vocabulary.num_users, prepared.vocabulary.num_users)
        items = (parent.vocabulary.num_items, prepared.vocabulary.num_items)
        notes = begin_with(model, parent.tensors, Grown(users, items, parent.names))
        return model.to(self.experiment.accelerator.device), notes

    def reading_once(self, model: RecModel) -> AbstractContextManager[Any]:
        """Inside the block, if the adapter stays as it is, every text is encoded once for both models.

        Args:
            model: The first of them.
        """
        trains = self.prepared.recipe.training.adapter_epochs != 0
        if model.encoded is None or trains or any(signal.inserts_tokens for signal in model.signals.values()):
            return nullcontext()
        return model.encoded.fixed(progress=self.experiment.progress)

    def answering(self, model: RecModel, learned: Interactions, before: RecModel | None = None) -> RecModel:
        """Return a model with the share of a baseline that the run answers with, if any.

        A ranking answers before the update with the run's own tables; after it, with those of all that is known now.
        Of ratings and clicks the baseline is fitted for both.

        Args:
            model: The model.
            learned: What the baseline is fitted to, or counted on.
            before: The run's model, without a baseline, where `model` is the updated one.
        """
        section, prepared = self.parent.recipe.served, self.prepared
        if self.parent.baseline is not None:
            if before is None:
                return as_it_was(model, self.parent, prepared)
            return counted_again(model, before, self.parent, prepared, learned)
        if section is None or self.baseline is None:
            return model
        return beside_baseline(model, prepared, self.baseline, section.share, learned)

    @property
    def served(self) -> ServedSection | None:
        """What of the recipe the updated run is, with the settings of its baseline; None for the tuned model."""
        section = self.parent.recipe.served
        if section is None or self.baseline is None:
            return section
        return section.model_copy(update={"settings": dict(self.baseline.settings)})

    @cached_property
    def baseline(self) -> Foldable | None:
        """The baseline of pairs of which the run answers with a share, not yet fitted; None where there is none.

        The members of an average are weighed anew, by how well they predict the new interactions from the old ones.

        Raises:
            InputError: If there is no such baseline.
        """
        section, train = self.parent.recipe.served, self.prepared.train
        task = str(self.prepared.recipe.reads.primary.task)
        if section is None or section.baseline is None or task == "ranking":
            return None
        known = foldable_baselines(task)
        if section.baseline == AVERAGE:
            old, new = train.take(np.arange(self.old)), train.take(np.arange(self.old, len(train)))
            arguments = fit_arguments(old, self.prepared)
            scores = np.stack([one.fit(*arguments).predict(new.user, new.item) for one in known])
            return averaged(known, weights_of(likelihoods(scores, observed_labels(new, self.prepared), task)))
        for one in known:
            if (one.name, one.settings) == (section.baseline, dict(section.settings)):
                return one
        raise InputError(f"served.baseline: {section.baseline!r} with these settings is no baseline of a {task}")


def before_update(further: Further) -> tuple[FittedVariant, RecModel]:
    """Return the run as it was, over the newer data's users and items, and its model without a baseline."""
    train = further.prepared.train
    learned = train.take(np.arange(further.old))
    model, _ = further.model(learned)
    answers = further.answering(model, learned)
    return FittedVariant(answers, _AS_IT_WAS, {}, 0.0, peak_rss_mb()), model


_AS_IT_WAS = FitResult(best_epoch=0, best=None, history=(), seconds=0.0, peak_rss_mb=0.0)


@dataclass(frozen=True)
class Updated:
    """An updated model.

    Attributes:
        fitted: What answers.
        model: The model itself, without a baseline.
        replayed: Old interactions in each epoch.
        notes: A line for each part that began anew.
    """

    fitted: FittedVariant
    model: RecModel
    replayed: int
    notes: list[str]


def fit_update(further: Further, before: RecModel, teacher: NDArray[np.float32] | None = None) -> Updated:
    """Train the run's model on the new interactions and on replayed old ones.

    Args:
        further: What is trained.
        before: The run's model as it was, without a baseline.
        teacher: Raw scores of the old training interactions by the run as it was, float32 [old]; None where nothing
            is distilled.
    """
    started = time.monotonic()
    experiment, prepared, section = further.experiment, further.prepared, further.prepared.recipe.update
    recipe, train, texts = prepared.recipe, prepared.train, further.texts
    if teacher is not None:
        kept = np.full(len(train), np.nan, np.float32)
        kept[: further.old] = teacher
        train = replace(train, teacher=kept)
    model, notes = further.model(train)
    model.distill = section.distill
    replay = Replay(train, further.old, section, recipe.seed)
    method = texts.method if model.encoder is not None else None
    sampler = sampler_of(recipe, model, prepared, train, texts)
    torch.manual_seed(recipe.seed)
    checkpoint = Checkpoint(experiment.folder / "update")
    told = (checkpoint, "update", method, None, None, experiment.progress, sampler, replay)
    result = fit(model, train, recipe.training, recipe.seed, experiment.accelerator, *told)
    model.distill = 0.0
    answers = further.answering(model, prepared.train, before)
    seconds = max(result.seconds, time.monotonic() - started)
    return Updated(FittedVariant(answers, result, {}, seconds, peak_rss_mb()), model, replay.count, notes)


def scoring_windows(model: RecModel, prepared: Prepared) -> AbstractContextManager[None]:
    """Inside the block every item's text, and every other text that the windows read, is encoded once."""
    items = prepared.vocabulary.num_items if model.plan.item else 1
    keys = [model.plan.keys(part, items) for part in (prepared.valid, prepared.test)]
    return model.scoring(np.unique(np.concatenate(keys)))


def predict_windows(heads: Mapping[str, HeadOutcomes], name: str, fitted: FittedVariant, prepared: Prepared) -> None:
    """Predict the old window (validation) and the newest one (test) with every head of a model.

    Args:
        heads: What was predicted so far, by head.
        name: Name of the model in the report.
        fitted: The model.
        prepared: Data.
    """
    protocol, part = prepared.protocol, prepared.valid
    valid = {head: outcome_of(fitted.model, head, part, protocol, protocol.learned) for head in heads}
    for outcomes in heads.values():
        outcomes.add(name, replace(fitted, valid=valid))


def raw_without_own(model: RecModel, part: Interactions) -> NDArray[np.float32]:
    """Score interactions that a model learned from, each as if it had not, before the head clamps, float32 [n]."""
    found = []
    with model.scoring(model.plan.keys(part)):
        for at in range(0, len(part), PAIRS):
            rows = np.arange(at, min(len(part), at + PAIRS))
            batch = Batch.of(part, rows, model.device, model.plan.history_length)
            label = batch.label
            assert label is not None  # noqa: S101 - of interactions
            batch = replace(batch, label=None, left_out=batch.item[:, None], left_out_label=label[:, None])
            found.append(model.raw(model.with_texts(batch)).float().cpu().numpy())
    return np.concatenate(found) if found else np.empty(0, np.float32)
