"""Train: from a recipe to a run folder with before, after, baselines and ablations."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from llmrec_peft import registry
from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.artifact.tables import ItemTable
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.locate import locate
from llmrec_peft.backbone.preflight import require_method, require_possible
from llmrec_peft.errors import InputError, disk_is_full
from llmrec_peft.evaluation.baselines import Baseline, fit_baselines
from llmrec_peft.progress import bar, note
from llmrec_peft.recipe import Recipe
from llmrec_peft.recommender import Recommender
from llmrec_peft.training.accelerator import make_accelerator
from llmrec_peft.training.memory import peak_cuda_mb, peak_rss_mb
from llmrec_peft.workflows.fitting import Fitted, Texts, fit_variant
from llmrec_peft.workflows.prepare import Prepared, prepare
from llmrec_peft.workflows.report import comparisons, figures, item_figures
from llmrec_peft.workflows.training_folder import claim, publish, refuse_occupied, training_folder
from llmrec_peft.workflows.variants import untuned, without

Scores = NDArray[np.floating[Any]]


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
    resumes = resume and work.exists()
    try:
        return _train(recipe, run, resume, overwrite, show)
    except Exception as error:
        if not disk_is_full(error):
            raise
        if not resumes:
            shutil.rmtree(work, ignore_errors=True)
        raise InputError(f"{run}: no room on the disk; the run was not written") from None


@dataclass
class _Outcome:
    """Predictions and costs of everything that was fitted.

    Attributes:
        before: The untuned reference.
        after: The tuned whole.
        baselines: Baselines.
        ablations: The whole without each part, by name.
        test: Predictions on the test part by model name.
        parameters: Numbers of parameters by group.
        encoding: Seconds that encoding all texts with the untuned model took.
    """

    before: Fitted
    after: Fitted
    baselines: list[Baseline]
    ablations: dict[str, Fitted]
    test: dict[str, Scores]
    parameters: dict[str, int]
    encoding: float


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
        earlier = claim(work, recipe, prepared, backbone.identity.plain(), resume)
    accelerator.wait_for_everyone()
    accelerator.init_trackers("llmrec-peft", config={"recipe": recipe.to_yaml()})
    clock = time.monotonic()
    texts = Texts(backbone, prepared, recipe)
    encoding = time.monotonic() - clock
    outcome = _fit_all(recipe, prepared, texts, accelerator, work, shows, encoding)
    accelerator.end_training()  # closes trackers, whose files are published, and the process group
    metrics = _metrics(recipe, prepared, outcome)
    metrics["seconds"]["total"] = round(earlier + time.monotonic() - started, 3)
    metrics["base"] = backbone.identity.plain()
    metrics["versions"] = versions()
    metrics["hardware"] = {**hardware(str(accelerator.device)), "processes": accelerator.num_processes}
    if accelerator.is_main_process:
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
) -> _Outcome:
    """Fit the untuned reference, the whole, the baselines and the ablations, and predict test with each once."""
    user, item = prepared.test.user, prepared.test.item
    before = fit_variant(untuned(recipe), prepared, texts, accelerator, work / "before", "before", show)
    test: dict[str, Scores] = {"before": before.model.scores(user, item)}
    after = fit_variant(recipe, prepared, texts, accelerator, work / "after", "tuned", show)
    recommender = _recommender(recipe, prepared, after)
    test["after"] = recommender.score(*prepared.ids(prepared.test))  # as `llmrec evaluate` will
    parameters = _parameters(after, texts)
    if accelerator.is_main_process:
        _stage(work / "artifact", recommender, prepared, texts, after)
    baselines = _baselines(prepared, recipe, show)
    test |= {baseline.name: baseline.test for baseline in baselines}
    ablations: dict[str, Fitted] = {}
    for part in recipe.evaluation.ablations:
        if part != "adapter" and part not in recipe.signals.active:
            continue  # the graph, where the data came without one
        variant, name = without(recipe, part), f"without_{part}"
        ablations[name] = fit_variant(variant, prepared, texts, accelerator, work / name, f"without {part}", show)
        test[name] = ablations[name].model.scores(user, item)
    return _Outcome(before, after, baselines, ablations, test, parameters, encoding)


def _metrics(recipe: Recipe, prepared: Prepared, outcome: _Outcome) -> dict[str, Any]:
    """The report of a run but for what the machine was."""
    valid: dict[str, Scores] = {"before": outcome.before.valid, "after": outcome.after.valid}
    valid |= {baseline.name: baseline.valid for baseline in outcome.baselines}
    valid |= {name: fitted.valid for name, fitted in outcome.ablations.items()}
    baselines, ablations = [baseline.name for baseline in outcome.baselines], list(outcome.ablations)
    counts = prepared.learned(recipe.training.refit).counts_by_item(prepared.vocabulary.num_items)
    after = outcome.after
    return {
        "recipe": recipe.name,
        "head": recipe.head.name,
        "primary_metric": registry.get("heads", recipe.head.name).metric,
        "seed": recipe.seed,
        "test": figures(outcome.test, prepared.test.label, baselines, ablations),
        "valid": figures(valid, prepared.valid.label, baselines, ablations),
        "slices": item_figures(outcome.test, prepared.test, counts, baselines, ablations),
        "comparisons": comparisons(outcome.test, prepared.test, recipe.evaluation.bootstrap),
        "baseline_settings": {baseline.name: baseline.settings for baseline in outcome.baselines},
        "training": {
            "epochs": after.search.best_epoch,
            "history": list(after.search.history),
            "refit": recipe.training.refit,
        },
        "seconds": {
            "train": round(outcome.encoding + after.seconds, 3),
            "before": round(outcome.before.seconds, 3),
            "ablations": round(sum(fitted.seconds for fitted in outcome.ablations.values()), 3),
        },
        "peak_memory_mb": {
            "rss": round(max(peak_rss_mb(), after.peak_rss_mb, outcome.before.peak_rss_mb), 1),
            "cuda": peak_cuda_mb(),
        },
        "parameters": outcome.parameters,
        "data": _data_report(prepared),
    }


def _introduce(recipe: Recipe, prepared: Prepared, compute: str, device: str) -> None:
    parts, dataset = prepared.split, prepared.dataset
    note(
        f"{dataset.name}: {len(prepared.vocabulary.users)} users, {len(prepared.vocabulary.items)} items;"
        f" {len(parts.train)} training, {len(parts.valid)} validation, {len(parts.test)} test ratings"
        f" ({recipe.data.split} split)"
    )
    for line in dataset.notes:
        note(line)
    note(f"{recipe.backbone.name} in {compute} on {device}, quantization {recipe.backbone.quantization}, frozen")


def _baselines(prepared: Prepared, recipe: Recipe, show: bool) -> list[Baseline]:
    fit = prepared.learned(recipe.training.refit)
    vocabulary = prepared.vocabulary
    found = []
    with bar("baselines", 5, show=show) as shown:
        for baseline in fit_baselines(
            prepared.train,
            prepared.valid,
            fit,
            prepared.test,
            vocabulary.num_users,
            vocabulary.num_items,
            prepared.dataset.rating_range,
        ):
            found.append(baseline)
            shown.advance(text=baseline.name)
    return found


def _recommender(recipe: Recipe, prepared: Prepared, after: Fitted) -> Recommender:
    """Fold the trained model and give it its catalogue."""
    model = after.model
    vectors: torch.Tensor | None = model.text_table
    if model.encoder is not None:
        with model.encoder.fixed() as encoded:
            vectors = encoded.clone()
    model.fold()
    learned = prepared.learned(recipe.training.refit)
    counts = learned.counts_by_item(prepared.vocabulary.num_items)
    items = ItemTable(tuple(prepared.titles), prepared.texts[1:], counts[1:])
    seen = [np.empty(0, np.int64)] * prepared.vocabulary.num_users
    return Recommender(recipe, model, prepared.vocabulary, items, vectors, seen)


def _stage(folder: Path, recommender: Recommender, prepared: Prepared, texts: Texts, after: Fitted) -> None:
    """Write the artifact's files before another variant trains the same adapter anew."""
    recipe = recommender.recipe
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    method = registry.get("adapters", recipe.adapter.method)(recipe.adapter.config)
    reads = recommender.catalogue.vectors is not None
    tuned = after.model.encoder.model if after.model.encoder is not None else texts.backbone.model
    recommender.save(folder, method, tuned if reads else None, texts.backbone, prepared.learned(recipe.training.refit))


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
    }
