"""Fitting: one recipe variant trained on prepared data, validation first, then the refit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from llmrec_peft.backbone.output_embedding import word_rows
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.negatives import CandidateSampler
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.outcomes import Outcome
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.experiment.decisions import Calibrators, Decision, LateWeights, Validation
from llmrec_peft.experiment.experiment import Experiment
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.model import RecModel, plan_texts
from llmrec_peft.model.build import build_heads, build_model, build_signals
from llmrec_peft.model.contexts import LanguageFacts, training_contexts
from llmrec_peft.model.text_source import EncodedSource
from llmrec_peft.training.checkpoint import Checkpoint
from llmrec_peft.training.fit_result import FitResult
from llmrec_peft.training.loop import fit

if TYPE_CHECKING:
    from llmrec_peft.recipe import Recipe


@dataclass
class FittedVariant:
    """A trained variant of a recipe.

    Attributes:
        model: The final model.
        search: The fit that validation watched.
        valid: What the best model of that fit predicted for validation, by head.
        seconds: Fitting time, refit included.
        peak_rss_mb: Highest resident memory.
    """

    model: RecModel
    search: FitResult
    valid: dict[str, Outcome]
    seconds: float
    peak_rss_mb: float


def new_model(recipe: Recipe, prepared: Prepared, train: Interactions, texts: Texts | None) -> RecModel:
    """Make a fresh model of a recipe, its initial values drawn from the recipe's seed."""
    sizes = (prepared.vocabulary.num_items, prepared.vocabulary.num_users, len(prepared.interactions))
    source = EncodedSource(plan_texts(recipe, *sizes)) if texts is None else texts.source(recipe)
    torch.manual_seed(recipe.seed)
    language = None if texts is None else _language_facts(recipe, texts)
    contexts = training_contexts(recipe, prepared.facts, train, language)
    heads = build_heads(recipe, contexts.head)
    signals = build_signals(recipe, contexts.signal)
    return build_model(recipe, signals, heads, source)


def _language_facts(recipe: Recipe, texts: Texts) -> LanguageFacts:
    """What heads and signals may know of the language model, as far as the recipe reads it."""
    reads, backbone = recipe.reads, texts.backbone
    hidden, token_norm = backbone.token_size if reads.inserts_tokens else (None, None)
    decodes = reads.prompt and backbone.kind == "decoder"
    return LanguageFacts(
        item_vectors=texts.items,
        user_vectors=texts.users,
        hidden=hidden,
        token_norm=token_norm,
        prompt_width=int(texts.untuned.shape[1]) if reads.prompt else None,
        decodes=decodes,
        yes_no=word_rows(backbone, _answers(recipe)).cpu() if decodes else None,
    )


def _answers(recipe: Recipe) -> list[str]:
    """Return the two words with which a decoder answers the prompts of the head that reads them."""
    asking = (head.config for head in recipe.reads.heads.values() if head.reads_prompt())
    return next((list(config.answers) for config in asking if hasattr(config, "answers")), ["Yes", "No"])


def sampler_of(
    recipe: Recipe, model: RecModel, prepared: Prepared, train: Interactions, texts: Texts | None
) -> CandidateSampler | None:
    """Make what draws candidates for a recipe's listwise heads; None where no head is listwise.

    Raises:
        InputError: When hard negatives are asked for and nothing is read.
    """
    asked = [negatives for head in model.heads.values() if (negatives := head.negatives()) is not None]
    if not asked:
        return None
    widest = max(asked, key=lambda one: (one.kind == "catalogue", one.count, one.hard))
    hard = max(one.hard for one in asked)
    alike = None
    if hard:
        if texts is None or not model.plan.item:
            raise InputError("head.hard_negatives: they are found by text, and no signal of the recipe reads any")
        alike = texts.alike()
    return CandidateSampler(replace(widest, hard=hard), train, prepared.vocabulary.num_items, recipe.seed, alike)


@dataclass
class SearchedVariant:
    """A variant that learned from the training part alone, as it was best on validation.

    Attributes:
        model: The model, with what validation decided inside.
        result: The fit.
        valid: What the model predicted for validation, by head.
        decisions: What validation decided.
    """

    model: RecModel
    result: FitResult
    valid: dict[str, Outcome]
    decisions: Sequence[Decision]


def search_variant(
    experiment: Experiment,
    recipe: Recipe,
    name: str,
    title: str,
    decisions: Sequence[Decision] = (),
    each_epoch: Callable[[float], None] | None = None,
) -> SearchedVariant:
    """Train a variant on the training part, and choose its epochs and what else validation decides.

    Args:
        experiment: What all variants of the run share.
        recipe: Variant.
        name: Folder of its checkpoints, inside the experiment's.
        title: Name on the progress bars.
        decisions: What is chosen beside weights of a late fusion and calibration.
        each_epoch: Receives the validation figure of each epoch; what it raises ends the fit.
    """
    prepared = experiment.prepared
    watch = _Watch(recipe, prepared)

    def validate(model: RecModel) -> float:
        figure = watch(model)
        if each_epoch is not None:
            each_epoch(figure)
        return figure

    model, result = trained(experiment, recipe, f"{name}/fit", f"{title} fit", experiment.protocol.train, validate)
    every: list[Decision] = [LateWeights(), Calibrators(prepared), *decisions]
    validation = Validation(model, prepared, watch.metric, lambda: watch(model))
    with scoring(model, prepared.valid, prepared):  # every text is encoded once for all that follows
        for decision in every:
            decision.choose(validation)
        outcomes = validation.outcomes()
    return SearchedVariant(model, result, outcomes, every)


def fit_variant(
    experiment: Experiment, recipe: Recipe, name: str, title: str, decisions: Sequence[Decision] = ()
) -> FittedVariant:
    """Train a variant: epochs chosen on validation, then, by recipe, a refit on train + validation.

    What else validation decides (weights of a late fusion, calibration, `decisions`) is chosen for the best model of
    the first fit and kept for the refit one.

    Args:
        experiment: What all variants of the run share.
        recipe: Variant.
        name: Folder of its checkpoints, inside the experiment's.
        title: Name on the progress bars.
        decisions: What else is chosen with the best model of the first fit, while it knows the training part alone.
    """
    started = time.monotonic()
    protocol = experiment.protocol
    found = search_variant(experiment, recipe, name, title, decisions)
    model, search = found.model, found.result
    seconds, peak = search.seconds, search.peak_rss_mb
    seconds += max(0.0, time.monotonic() - started - search.seconds)
    if recipe.refits and recipe.training.refit == "recount":
        for signal in model.signals.values():
            signal.remember(protocol.learned)
    elif recipe.refits:
        where, what, epochs = f"{name}/refit", f"{title} refit", search.best_epoch
        model, final = trained(experiment, recipe, where, what, protocol.learned, epochs=epochs)
        for decision in found.decisions:
            decision.keep(model)
        seconds, peak = seconds + final.seconds, max(peak, final.peak_rss_mb)
    return FittedVariant(model, search, found.valid, seconds, peak)


class _Watch:
    """The figure of validation that chooses epochs: the primary head's metric, on a fixed sample where one is asked."""

    def __init__(self, recipe: Recipe, prepared: Prepared) -> None:
        valid, count = prepared.valid, recipe.training.validate_on
        if count is not None and count < len(valid):
            valid = valid.take(np.sort(np.random.default_rng(0).permutation(len(valid))[:count]))
        self._part, self._protocol = valid, prepared.protocol
        self._head = recipe.head.name
        self._measure = prepared.measures[self._head]
        self.metric = str(recipe.reads.primary.metric)

    def __call__(self, model: RecModel) -> float:
        if self._protocol.in_time and model.heads[self._head].task != "ranking":
            # histories know what came before; that items' rates follow, too, is left to the reports: it takes long
            outcome: Outcome = model.scores(self._part, self._head)
        else:
            outcome = outcome_of(model, self._head, self._part, self._protocol, self._protocol.train)
        return self._measure.report(outcome, self._part)[self.metric]


def trained(
    experiment: Experiment,
    recipe: Recipe,
    name: str,
    title: str,
    train: Interactions,
    validate: Callable[[RecModel], float] | None = None,
    epochs: int | None = None,
) -> tuple[RecModel, FitResult]:
    """Train a fresh model once; its time includes what was computed before the first step."""
    started = time.monotonic()
    prepared, texts = experiment.prepared, experiment.texts
    model = new_model(recipe, prepared, train, texts)
    model.to(experiment.accelerator.device)
    method = texts.method if texts is not None and model.encoder is not None else None
    sampler = sampler_of(recipe, model, prepared, train, texts)
    torch.manual_seed(recipe.seed)
    result = fit(
        model,
        train,
        recipe.training,
        recipe.seed,
        experiment.accelerator,
        Checkpoint(experiment.folder / name),
        title,
        method,
        validate,
        epochs,
        experiment.progress,
        sampler,
    )
    setup = time.monotonic() - started - result.seconds
    return model, replace(result, seconds=result.seconds + max(0.0, setup))


def scoring(model: RecModel, part: Interactions, prepared: Prepared) -> AbstractContextManager[None]:
    """Inside the block every text that a part's figures read, of all items where they are ranked, is encoded once."""
    ranks = model.plan.item and any(head.task == "ranking" for head in model.heads.values())
    return model.scoring(model.plan.keys(part, prepared.vocabulary.num_items if ranks else 1))
