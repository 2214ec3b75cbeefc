"""Train: from a recipe to a run folder with before, after, baselines and ablations."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from llmrec_peft import registry
from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.artifact.tables import ItemTable, Seen
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.locate import locate
from llmrec_peft.backbone.preflight import require_method, require_possible
from llmrec_peft.errors import InputError, disk_is_full
from llmrec_peft.experiment.baselines import baselines_of
from llmrec_peft.experiment.fitting import Fitted, fit_variant, scoring
from llmrec_peft.experiment.head_outcomes import HeadOutcomes
from llmrec_peft.experiment.keep_predictions import keep_predictions
from llmrec_peft.experiment.prepare import Prepared, prepare
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.experiment.training_folder import begun_here, claim, publish, refuse_occupied, training_folder
from llmrec_peft.model import RecModel
from llmrec_peft.progress import note
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.reads import bare_heads
from llmrec_peft.recipe.variants import collaborative_only, untuned, without
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.training.accelerator import make_accelerator
from llmrec_peft.training.memory import peak_cuda_mb, peak_rss_mb
from llmrec_peft.writing.train_writer import is_writing, train_writer


def train(
    recipe: Recipe, run: Path, resume: bool = False, overwrite: bool = False, show: bool = True
) -> dict[str, Any]:
    """Train a recipe and leave a run folder.

    While it runs, checkpoints lie in a hidden folder beside `run`; `run` itself appears whole at the end.

    Args:
        recipe: What to do.
        run: Folder to make.
        resume: Go on with an interrupted run of the same recipe and data; a finished one is left as it is.
        overwrite: Replace a run, or throw an interrupted one away.
        show: Whether to print notes and progress bars on stderr.

    Returns:
        The run's metrics, as in ``metrics.json``.

    Raises:
        InputError: When anything the user gave is not right, or the disk is full; nothing is left on disk
            then but the checkpoints of a run that was to be resumed.
    """
    finished = refuse_occupied(run, resume, overwrite)
    if finished is not None:
        if show:
            note(f"{run} is finished; nothing to resume")
        return finished
    work = training_folder(run)
    began = time.time()
    try:
        if is_writing(recipe):
            return train_writer(recipe, run, resume, overwrite, show)
        return _train(recipe, run, resume, overwrite, show)
    except Exception as error:
        full = disk_is_full(error)
        if (full or isinstance(error, InputError)) and begun_here(work, began):
            shutil.rmtree(work, ignore_errors=True)
        if not full:
            raise
        raise InputError(f"{run}: no room on the disk; the run was not written") from None


@dataclass
class _Results:
    """Outcomes and costs of everything that was fitted.

    Attributes:
        before: The untuned reference; None where the recipe is that itself.
        after: The tuned whole.
        variants: The collaborative part alone and the whole without each part, by name.
        heads: What each head's models said.
        parameters: Numbers of parameters by group.
        encoding: Seconds that encoding all texts with the untuned model took.
        weights: Plain figures of the trained parts.
    """

    before: Fitted | None
    after: Fitted
    variants: dict[str, Fitted]
    heads: dict[str, HeadOutcomes]
    parameters: dict[str, int]
    encoding: float
    weights: dict[str, Any]


def _train(recipe: Recipe, run: Path, resume: bool, overwrite: bool, show: bool) -> dict[str, Any]:
    """Check everything that can be checked, claim the hidden folder, fit, report, publish."""
    started = time.monotonic()
    work = training_folder(run)
    for part in recipe.evaluation.ablations:
        without(recipe, part)
    require_possible(recipe)
    locate(recipe.backbone.name, recipe.backbone.revision)  # a wrong name or digest is said before data is read
    recipe, prepared = prepare(recipe)
    accelerator = make_accelerator(recipe.training.trackers, work)
    backbone = load_backbone(recipe.backbone, accelerator.device)
    require_method(recipe.adapter.method, recipe.adapter.config, backbone.facts, recipe.backbone.quantization)
    # finds the targets, so that names which match nothing are said before anything is written
    registry.get("adapters", recipe.adapter.method)(recipe.adapter.config).parameter_count(backbone.shapes)
    shows = show and accelerator.is_main_process
    if shows:
        _introduce(recipe, prepared, backbone.identity.compute, str(accelerator.device))
    accelerator.wait_for_everyone()  # every process has looked for a run in the way before one takes the place
    earlier = 0.0
    if accelerator.is_main_process:
        earlier = claim(work, recipe, prepared, backbone.identity.plain(), resume, overwrite)
    accelerator.wait_for_everyone()
    accelerator.init_trackers("llmrec-peft", config={"recipe": recipe.to_yaml()})
    clock = time.monotonic()
    texts = Texts(backbone, prepared, recipe)
    encoding = time.monotonic() - clock
    if shows:
        for line in texts.notes:
            note(line)
    results = _fit_all(recipe, prepared, texts, accelerator, work, shows, encoding)
    accelerator.end_training()  # closes trackers, whose files are published, and the process group
    metrics = _metrics(recipe, prepared, results)
    metrics["data"]["notes"] += texts.notes
    metrics["seconds"]["total"] = round(earlier + time.monotonic() - started, 3)
    metrics["base"] = backbone.identity.plain()
    metrics["versions"] = versions()
    metrics["hardware"] = {**hardware(str(accelerator.device)), "processes": accelerator.num_processes}
    if accelerator.is_main_process:
        keep_predictions(work / "artifact", results.heads, prepared)
        publish(work, run, overwrite, recipe, metrics, backbone.identity.plain())
    return metrics


def _fit_all(
    recipe: Recipe,
    prepared: Prepared,
    texts: Texts,
    accelerator: Accelerator,
    work: Path,
    show: bool,
    encoding: float,
) -> _Results:
    """Fit the untuned reference, the whole, the baselines and the variants, and predict test with each once."""
    heads = bare_heads(recipe)
    found = {name: HeadOutcomes.empty(name, recipe, prepared) for name in heads}

    def fitted(variant: Recipe, name: str, title: str, choose: Callable[[RecModel], None] | None = None) -> Fitted:
        return fit_variant(variant, prepared, texts, accelerator, work / name, title, show, choose)

    def choose(model: RecModel) -> None:
        for outcomes in found.values():
            outcomes.choose(model, recipe, prepared)

    for name, outcomes in found.items():
        outcomes.baselines = baselines_of(heads[name], recipe, prepared, texts, show)
    reference = untuned(recipe)
    before = None if reference == recipe else fitted(reference, "before", "before")
    if before is not None:
        _collect(found, "before", before, reference, prepared)
    after = fitted(recipe, "after", "tuned", choose if recipe.evaluation.blend else None)
    with scoring(after.model, prepared.test, prepared):
        _collect(found, "after", after, recipe, prepared)
        for outcomes in found.values():
            if before is None:  # nothing is tuned but a head over frozen texts: one training is both
                outcomes.repeat("after", "before")
            if recipe.evaluation.blend:
                outcomes.blend(after, recipe, prepared)
        weights = {**after.model.report(), **{name: head.report() for name, head in after.model.heads.items()}}
        recommender = _recommender(recipe, prepared, after, texts)
    parameters = _parameters(after, texts)
    if accelerator.is_main_process:
        _stage(work / "artifact", recommender, prepared, texts, after)
    variants: dict[str, Fitted] = {}
    alone = collaborative_only(recipe) if recipe.evaluation.collaborative_only else None
    if alone is not None and heads[recipe.head.name].task != "rating":
        variants["collaborative_only"] = fitted(alone, "collaborative_only", "collaborative only")
        _collect(found, "collaborative_only", variants["collaborative_only"], alone, prepared)
    for part in recipe.evaluation.ablations:
        if part != "adapter" and part not in recipe.signals.active:
            continue  # the graph, where the data came without one
        variant, name = without(recipe, part), f"without_{part}"
        variants[name] = fitted(variant, name, f"without {part}")
        _collect(found, name, variants[name], variant, prepared)
    return _Results(before, after, variants, found, parameters, encoding, weights)


def _collect(found: dict[str, HeadOutcomes], name: str, fitted: Fitted, recipe: Recipe, prepared: Prepared) -> None:
    """Predict test with a fitted variant, once for each head that it has."""
    for head in fitted.model.heads:
        found[head].add(name, fitted, recipe, prepared)


def _metrics(recipe: Recipe, prepared: Prepared, results: _Results) -> dict[str, Any]:
    """The report of a run but for what the machine was."""
    after = results.after
    primary, *others = results.heads
    report = results.heads[primary].report(recipe, prepared)
    further = {name: results.heads[name].report(recipe, prepared) for name in others}
    return {
        "recipe": recipe.name,
        "head": primary,
        "seed": recipe.seed,
        "protocol": _protocol(recipe, results.heads[primary].task),
        **report,
        **({"heads": further} if further else {}),
        "weights": results.weights,
        "training": {
            "epochs": after.search.best_epoch,
            "history": list(after.search.history),
            "refit": recipe.refits,
        },
        "seconds": {
            "train": round(results.encoding + after.seconds, 3),
            "before": 0.0 if results.before is None else round(results.before.seconds, 3),
            "ablations": round(sum(fitted.seconds for fitted in results.variants.values()), 3),
        },
        "peak_memory_mb": {
            "rss": round(max(peak_rss_mb(), *(fitted.peak_rss_mb for fitted in (after, results.before) if fitted)), 1),
            "cuda": peak_cuda_mb(),
        },
        "parameters": results.parameters,
        "data": _data_report(prepared),
    }


def _protocol(recipe: Recipe, task: str) -> dict[str, Any]:
    """What decides how the figures are to be read."""
    told: dict[str, Any] = {"split": recipe.data.split, "labels_counted": recipe.data.protocol}
    if task == "ranking":
        told |= {"candidates": "whole catalogue", "own_items": recipe.evaluation.own_items}
    return told


def _introduce(recipe: Recipe, prepared: Prepared, compute: str, device: str) -> None:
    parts, dataset = prepared.split, prepared.dataset
    note(
        f"{dataset.name}: {len(prepared.vocabulary.users)} users, {len(prepared.vocabulary.items)} items;"
        f" {len(parts.train)} training, {len(parts.valid)} validation, {len(parts.test)} test"
        f" {_CALLED[dataset.feedback]} ({recipe.data.split} split)"
    )
    for line in dataset.notes:
        note(line)
    for leak in prepared.leaks:
        note(f"leak that data.allow_leakage lets pass: {leak}")
    note(f"{recipe.backbone.name} in {compute} on {device}, quantization {recipe.backbone.quantization}, frozen")


_CALLED = {"rating": "ratings", "click": "clicks", "implicit": "interactions"}
"""What examples of each kind of feedback are called."""


def _recommender(recipe: Recipe, prepared: Prepared, after: Fitted, texts: Texts) -> Recommender:
    """Fold the trained model and give it its catalogue."""
    model = after.model
    learned = prepared.learned(recipe.refits)
    vectors: torch.Tensor | None = None
    if model.plan.item:
        keys = np.arange(prepared.vocabulary.num_items)
        if model.encoded is not None:
            with model.encoded.fixed(keys) as encoded:
                vectors = encoded[: len(keys)].clone()
        else:
            vectors = texts.items
    model.fold()
    counts = learned.counts_by_item(prepared.vocabulary.num_items)
    told = model.plan.prompt is not None or (model.plan.user_by_example and model.plan.user is not None)
    columns = tuple(prepared.item_rows[1:]) if told else ()
    items = ItemTable(tuple(prepared.titles), prepared.texts[1:], counts[1:], columns)
    seen = Seen.of(learned, prepared.interactions)
    return Recommender(
        recipe,
        model,
        prepared.vocabulary,
        items,
        vectors,
        seen.by_user(prepared.vocabulary.num_users),
        prepared.user_rows if told else (),
        _user_vectors(prepared, model, texts),
    )


def _user_vectors(prepared: Prepared, model: RecModel, texts: Texts) -> torch.Tensor | None:
    """Vectors of users' texts, [num_users, width]: of their own, or of the latest example that tells a history."""
    start = model.plan.user
    if start is None:
        return None
    users = prepared.vocabulary.num_users
    keys = start + np.arange(users)
    if model.plan.user_by_example:
        interactions = prepared.interactions
        order = np.lexsort((interactions.timestamp, interactions.user))
        last = order[np.append(np.diff(interactions.user[order]) != 0, True)]
        keys = np.zeros(users, np.int64)  # who has no example gets the empty text of the unknown item
        keys[interactions.user[last]] = start + last
    if model.encoded is None:
        return texts.untuned[torch.from_numpy(keys).to(texts.untuned.device)]
    with model.encoded.fixed(keys) as encoded:
        return encoded[torch.from_numpy(keys).to(encoded.device)].clone()


def _stage(folder: Path, recommender: Recommender, prepared: Prepared, texts: Texts, after: Fitted) -> None:
    """Write the artifact's files before another variant trains the same adapter anew."""
    recipe = recommender.recipe
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    method = registry.get("adapters", recipe.adapter.method)(recipe.adapter.config)
    reads = recommender.model.plan.any
    tuned = after.model.encoder.model if after.model.encoder is not None else texts.backbone.model
    seen = Seen.of(prepared.learned(recipe.refits), prepared.interactions)
    recommender.save(folder, method, tuned if reads else None, texts.backbone, seen)


def _parameters(after: Fitted, texts: Texts) -> dict[str, int]:
    groups = after.model.parameter_groups()
    count = {name: sum(parameter.numel() for _, parameter in members) for name, members in groups.items()}
    adapters = {id(p) for _, p in groups["adapter"]}
    base = sum(p.numel() for p in texts.backbone.model.parameters() if id(p) not in adapters and not p.requires_grad)
    trainable = sum(count.values())
    return {"total": base + trainable, "trainable": trainable, **count}


def _data_report(prepared: Prepared) -> dict[str, Any]:
    parts = prepared.split
    return {
        "name": prepared.dataset.name,
        "digest": prepared.digest,
        "users": len(prepared.vocabulary.users),
        "items": len(prepared.vocabulary.items),
        "train": len(parts.train),
        "valid": len(parts.valid),
        "test": len(parts.test),
        "licence": prepared.dataset.licence,
        "notes": list(prepared.dataset.notes),
        "leaks": [str(leak) for leak in prepared.leaks],
    }
