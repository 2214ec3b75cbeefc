"""Fitting: one recipe variant trained on prepared data, validation first, then the refit."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from llmrec_peft.data.dataset import columns
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.negatives import CandidateSampler
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.measures import LOWER_IS_BETTER, Measure, measure_of
from llmrec_peft.evaluation.outcomes import Outcome, rank_targets
from llmrec_peft.experiment.prepare import Prepared
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.heads.contract import HeadContext
from llmrec_peft.model import RecModel, plan_texts
from llmrec_peft.model.build import build_heads, build_model, build_signals
from llmrec_peft.model.text_source import EncodedSource
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.reads import bare_heads, bare_signals, reads_prompt
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.training.checkpoint import Checkpoint
from llmrec_peft.training.loop import FitResult, fit


@dataclass
class Fitted:
    """A trained variant.

    Attributes:
        model: The final model.
        search: The fit that validation watched.
        valid: What the best model of that fit said of validation, by head.
        seconds: Fitting time, refit included.
        peak_rss_mb: Highest resident memory.
    """

    model: RecModel
    search: FitResult
    valid: dict[str, Outcome]
    seconds: float
    peak_rss_mb: float


def measures(recipe: Recipe, prepared: Prepared) -> dict[str, Measure]:
    """How each head of a recipe is measured."""
    popularity = prepared.learned(recipe.refits).counts_by_item(prepared.vocabulary.num_items)
    span = prepared.dataset.rating_range
    return {
        name: measure_of(head.task, functools.partial(head.observed, label_range=span), popularity)
        for name, head in bare_heads(recipe).items()
    }


def new_model(recipe: Recipe, prepared: Prepared, train: Interactions, texts: Texts | None) -> RecModel:
    """A fresh model of a recipe, its initial values drawn from the recipe's seed."""
    vocabulary = prepared.vocabulary
    sizes = (vocabulary.num_items, vocabulary.num_users, len(prepared.interactions))
    source = EncodedSource(plan_texts(recipe, *sizes)) if texts is None else texts.source(recipe)
    torch.manual_seed(recipe.seed)
    heads = build_heads(recipe, _head_context(recipe, prepared, train, texts))
    inserts = any(signal.inserts_tokens for signal in bare_signals(recipe).values())
    hidden, token_norm = texts.backbone.token_size if texts is not None and inserts else (None, None)
    context = SignalContext(
        num_users=vocabulary.num_users,
        num_items=vocabulary.num_items,
        dim=recipe.fusion.dim,
        train=train,
        text=texts.items if texts is not None else None,
        neighbours=prepared.neighbours,
        task=next(iter(heads.values())).task,
        listwise=any(head.listwise for head in heads.values()),
        users=columns(prepared.dataset.users),
        items=columns(prepared.dataset.items),
        hidden=hidden,
        token_norm=token_norm,
        history_length=recipe.data.history_length,
        user_text=texts.users if texts is not None else None,
        seed=recipe.seed,
    )
    signals = build_signals(recipe, context)
    return build_model(recipe, signals, heads, source)


def _head_context(recipe: Recipe, prepared: Prepared, train: Interactions, texts: Texts | None) -> HeadContext:
    backbone = texts.backbone if texts is not None and reads_prompt(recipe) else None
    decodes = backbone is not None and backbone.kind == "decoder"
    return HeadContext(
        dim=recipe.fusion.dim,
        label_mean=float(train.label.mean()),
        label_range=prepared.dataset.rating_range,
        text_width=None if backbone is None else backbone.width,
        decodes=decodes,
        yes_no=backbone.output_rows(["Yes", "No"]).cpu() if backbone is not None and decodes else None,
        labels=train.label,
    )


def outcome_of(
    model: RecModel,
    head: str,
    part: Interactions,
    recipe: Recipe,
    prepared: Prepared,
    learned: Interactions,
    sampled: int | None = None,
) -> Outcome:
    """What one head of a model says of a part, in the form that its task is measured in.

    Args:
        model: Trained model.
        head: Name of the head.
        part: Examples.
        recipe: Protocol of the evaluation.
        prepared: Data.
        learned: Interactions that the model was trained on.
        sampled: Rank among so many random items, too.
    """
    if model.heads[head].task == "ranking":
        num_items = prepared.vocabulary.num_items
        with model.ranking(part, num_items, head) as scores:
            return rank_targets(part, scores, num_items, own_items=recipe.evaluation.own_items, sampled=sampled)
    if recipe.data.protocol == "prequential":
        return model.scores_in_time(part, learned, head)
    return model.scores(part, head)


def sampler_of(
    recipe: Recipe, model: RecModel, prepared: Prepared, train: Interactions, texts: Texts | None
) -> CandidateSampler | None:
    """What draws candidates for a recipe's listwise heads; None where no head is listwise.

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


def fit_variant(
    recipe: Recipe,
    prepared: Prepared,
    texts: Texts | None,
    accelerator: Accelerator,
    work: Path,
    title: str,
    show: bool,
    choose: Callable[[RecModel], None] | None = None,
) -> Fitted:
    """Train a variant: epochs chosen on validation, then, by recipe, a refit on train + validation.

    What else validation decides (weights of a late fusion, calibration) is chosen for the best model of the
    first fit and kept for the refit one.

    Args:
        recipe: Variant.
        prepared: Data.
        texts: Language model; None where no variant reads text.
        accelerator: Device and trackers.
        work: Folder for the checkpoints of this variant.
        title: Name on the progress bars.
        show: Whether to show them.
        choose: What else is chosen with the best model of the first fit, while it knows the training part alone.
    """
    section, device, valid = recipe.training, accelerator.device, prepared.valid
    watched = valid
    if section.validate_on is not None and section.validate_on < len(valid):
        watched = valid.take(np.sort(np.random.default_rng(0).permutation(len(valid))[: section.validate_on]))
    measured = measures(recipe, prepared)
    primary = recipe.head.name
    metric = bare_heads(recipe)[primary].metric

    def figure(model: RecModel) -> float:
        if recipe.data.protocol == "prequential" and model.heads[primary].task != "ranking":
            # histories know what came before; that items' rates follow, too, is left to the reports: it takes long
            scores = model.scores(watched, primary)
            return measured[primary].report(scores, watched)[metric]
        outcome = outcome_of(model, primary, watched, recipe, prepared, prepared.train)
        return measured[primary].report(outcome, watched)[metric]

    def run(train: Interactions, phase: str, watch: bool, epochs: int | None) -> tuple[RecModel, FitResult]:
        started = time.monotonic()
        model = new_model(recipe, prepared, train, texts)
        model.to(device)
        method = texts.method if texts is not None and model.encoder is not None else None
        sampler = sampler_of(recipe, model, prepared, train, texts)
        torch.manual_seed(recipe.seed)
        result = fit(
            model,
            train,
            section,
            recipe.seed,
            accelerator,
            Checkpoint(work / phase),
            f"{title} {phase}",
            method,
            figure if watch else None,
            epochs,
            show,
            sampler,
        )
        setup = time.monotonic() - started - result.seconds
        return model, replace(result, seconds=result.seconds + max(0.0, setup))

    started = time.monotonic()
    model, search = run(prepared.train, "fit", True, None)
    with scoring(model, valid, prepared):  # every text is encoded once for all that follows
        model.fusion.choose(lambda: figure(model), metric in LOWER_IS_BETTER)
        outcomes = _outcomes(model, recipe, prepared)
        pairs = {name: scores for name, scores in outcomes.items() if isinstance(scores, np.ndarray)}
        for name, scores in pairs.items():
            head = model.heads[name]
            head.calibrate(scores, head.observed(valid.label, prepared.dataset.rating_range))
        outcomes = _outcomes(model, recipe, prepared) if pairs else outcomes
        if choose is not None:
            choose(model)
    decided = {name: tensor.clone() for name, tensor in model.trained_state().items() if _by_validation(name)}
    seconds, peak = search.seconds, search.peak_rss_mb
    seconds += max(0.0, time.monotonic() - started - search.seconds)
    if recipe.refits and section.refit == "recount":
        for signal in model.signals.values():
            signal.remember(prepared.learned(True))
    elif recipe.refits:
        model, final = run(prepared.learned(True), "refit", False, search.best_epoch)
        model.load_trained_state({**model.trained_state(), **decided})
        seconds, peak = seconds + final.seconds, max(peak, final.peak_rss_mb)
    return Fitted(model, search, outcomes, seconds, peak)


def scoring(model: RecModel, part: Interactions, prepared: Prepared) -> AbstractContextManager[None]:
    """Inside the block every text that a part's figures read, of all items where they are ranked, is encoded once."""
    ranks = model.plan.item and any(head.task == "ranking" for head in model.heads.values())
    return model.scoring(np.union1d(model.plan.keys(part), np.arange(prepared.vocabulary.num_items if ranks else 1)))


def _outcomes(model: RecModel, recipe: Recipe, prepared: Prepared) -> dict[str, Outcome]:
    """What each head says of validation."""
    valid, train = prepared.valid, prepared.train
    return {name: outcome_of(model, name, valid, recipe, prepared, train) for name in model.heads}


def _by_validation(name: str) -> bool:
    """Whether a tensor is decided on validation: a late fusion's weights, a calibrator."""
    return name == "fusion.weights" or ".calibration." in name
