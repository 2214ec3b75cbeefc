"""Update: a finished run learns from newer data, and is promoted if it is better than it was."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.artifact.lineage import FILE as LINEAGE
from llmrec_peft.artifact.lineage import Compared, Step, write_lineage
from llmrec_peft.artifact.place import occupied
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.backbone.base import require_base
from llmrec_peft.backbone.preflight import require_possible
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.about_run import data_report, parameter_counts, protocol_of
from llmrec_peft.experiment.data_drift import calibration, data_drift, in_words
from llmrec_peft.experiment.experiment import OpenedRun, open_run
from llmrec_peft.experiment.fitting import FittedVariant
from llmrec_peft.experiment.head_outcomes import HeadOutcomes
from llmrec_peft.experiment.keep_predictions import keep_predictions
from llmrec_peft.experiment.newer_data import NewerData, newer_data, with_scale_of
from llmrec_peft.experiment.parent import Parent
from llmrec_peft.experiment.prepare import read_dataset, read_source
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.experiment.promotion import compared, promotes, reason
from llmrec_peft.experiment.staging import recommender_of, stage
from llmrec_peft.experiment.training_folder import (
    held_for_training,
    publish,
    refuse_replacement,
    tidy_up,
    training_folder,
)
from llmrec_peft.experiment.updating import (
    Further,
    Updated,
    before_update,
    fit_update,
    predict_windows,
    raw_without_own,
    recipe_to_update,
    scoring_windows,
)
from llmrec_peft.model import RecModel
from llmrec_peft.model.warm_start import trained_tensors
from llmrec_peft.printable import shown
from llmrec_peft.progress import Progress
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.yaml_file import parse_override
from llmrec_peft.training.accelerator import processes_asked_for
from llmrec_peft.training.memory import peak_cuda_mb

SETTABLE = ("update.", "data.path", "data.graph", "data.options.")
"""Fields of the recipe that an update may be given; the others are those of the run."""


@dataclass(frozen=True)
class Asked:
    """How an update is to be done.

    Attributes:
        force: Write the updated run even if it is not better.
        resume: Go on with an interrupted update of the same run and data.
        overwrite: Replace a run that is there, or throw an interrupted update away.
        overrides: ``field=value`` for fields of `update` and of where the data is.
        show: Whether to print notes and progress bars on stderr.
    """

    force: bool = False
    resume: bool = False
    overwrite: bool = False
    overrides: tuple[str, ...] = ()
    show: bool = True


PLAIN = Asked()


def update(
    run: Path, data: str | None, out: Path, asked: Asked = PLAIN, dataset: RecDataset | None = None
) -> dict[str, Any]:
    """Let a finished run learn from newer data; the run itself is not touched.

    The updated run is written if it is significantly better than the run on the newest interactions and not
    significantly worse on old ones (paired bootstrap, 95 %), or where it is forced.

    Args:
        run: Finished run, with its private files.
        data: All data up to now, or the new interactions with the users and items that they name, as the run's reader
            reads it; None where it is in memory. What the run has learned from is recognized.
        out: Folder of the updated run.
        asked: How it is to be done.
        dataset: The data, if it is in memory.

    Returns:
        The metrics, as in ``metrics.json``; ``update`` in them says whether it was promoted, and why.

    Raises:
        InputError: When anything that was given is not right.
    """
    progress = Progress(asked.show)
    if processes_asked_for() > 1:
        raise InputError("llmrec update runs in one process: start it without a launcher")
    parent = Parent.read(run)
    recipe = recipe_with(parent.recipe, data, asked.overrides)
    if asked.resume and not asked.overwrite and occupied(out):
        return _finished(out, parent, progress)
    with held_for_training(out, asked.resume, asked.overwrite):
        return _update(parent, recipe, out, asked, progress, dataset)


def recipe_with(recipe: Recipe, data: str | None, overrides: Sequence[str]) -> Recipe:
    """Return the run's recipe with what was asked for.

    Raises:
        InputError: For a field that belongs to the run.
    """
    edits: dict[str, Any] = {"data.path": data}
    for override in overrides:
        field, value = parse_override(override)
        if not field.startswith(SETTABLE):
            raise InputError(
                f"--set {field}: an update goes on with the run's own recipe; fields of update, data.path, data.graph"
                " and data.options can be set"
            )
        edits[field] = value
    return recipe.changed(edits)


def _finished(out: Path, parent: Parent, progress: Progress) -> dict[str, Any]:
    """Return the metrics of an update that is finished, and remove what a kill after publishing left beside it.

    Raises:
        InputError: If the run there was not updated from this one, or an interrupted update that was to replace it is
            there.
    """
    refuse_replacement(out)
    sealed = SealedFolder.open(out)
    metrics = sealed.report()
    told = metrics.get("update")
    if not isinstance(told, dict) or told.get("parent") != parent.manifest.digest:
        raise InputError(
            f"{shown(out)} exists already and was not updated from {parent.folder}: --overwrite replaces it"
        )
    tidy_up(out)
    progress.note(f"{out} is finished; nothing to resume")
    return metrics


def _update(
    parent: Parent,
    recipe: Recipe,
    out: Path,
    asked: Asked,
    progress: Progress,
    dataset: RecDataset | None,
) -> dict[str, Any]:
    """Open, compare, train, decide and publish."""
    started = time.monotonic()
    opened, newer = _opened(parent, recipe, out, progress, dataset)
    experiment, texts = opened.claimed(out, recipe, asked.resume, parent.manifest.digest).read_texts()
    prepared, base = experiment.prepared, opened.backbone.identity.plain()
    further = Further(experiment, texts, parent, newer.old)
    heads = {name: HeadOutcomes(name, prepared, (), blends=False) for name in prepared.recipe.reads.heads}
    before, model = before_update(further)
    with further.reading_once(model):
        teacher = _look_before(further, before, model, heads)
        primary = heads[prepared.recipe.head.name]
        drift = _drift(prepared, newer, primary, texts.items if texts.plan.item else None)
        for line in in_words(drift):
            progress.note(line)
        updated = fit_update(further, model, teacher)
        trained = trained_tensors(updated.model)
        with scoring_windows(updated.fitted.model, prepared):
            predict_windows(heads, "after", updated.fitted, prepared)
            newest, old = compared(primary, prepared)
            promoted = promotes(newest, old)
            step = _step(prepared, newer, updated, primary.metric, newest, old, forced=not promoted)
            metrics = _metrics(prepared, heads, updated, step, parent, promoted, drift)
            metrics |= {"base": base, "texts": texts.reader.plain(), "versions": versions()}
            metrics["hardware"] = {**hardware(str(experiment.accelerator.device)), "processes": 1}
            metrics["parameters"] = parameter_counts(updated.model, texts)
            if promoted or asked.force:
                recommender = recommender_of(updated.fitted.model, prepared, texts, further.served, recipe)
                stage(experiment.folder / "artifact", recommender, prepared, texts, trained)
    metrics["seconds"]["total"] = round(time.monotonic() - started, 3)
    if promoted or asked.force:
        folder = experiment.folder / "artifact"
        keep_predictions(folder, heads, prepared)
        write_lineage(folder / LINEAGE, parent.lineage.followed_by(parent.manifest.digest, step))
        publish(out, asked.overwrite, recipe, metrics, base)
    return metrics


def read_newer(parent: Parent, recipe: Recipe, dataset: RecDataset | None = None) -> NewerData:
    """Read what an update learns from, and check that the run can.

    Args:
        parent: The run.
        recipe: Its recipe, as `recipe_with` returns it.
        dataset: The data, if it is in memory.

    Raises:
        TooFewError: If there are too few new interactions.
        InputError: If the run cannot be updated, or not with these data.
    """
    require_possible(recipe_to_update(recipe))
    given = read_dataset(recipe.data, with_scale_of(parent, read_source(recipe.data) if dataset is None else dataset))
    if given.gives_histories and recipe.data.history != "earlier":
        raise InputError(f"{given.name} gives histories of its own; an update reads those of data.history=earlier")
    return newer_data(parent, given, recipe.update.window, recipe.seed)


def _opened(
    parent: Parent, recipe: Recipe, out: Path, progress: Progress, dataset: RecDataset | None
) -> tuple[OpenedRun, NewerData]:
    """Read the newer data and the base model, and check that they fit the run.

    Raises:
        InputError: When they do not.
    """
    newer = read_newer(parent, recipe, dataset)
    opened = open_run(recipe_to_update(recipe), training_folder(out), progress, newer.dataset)
    require_base(opened.backbone.identity.plain(), parent.manifest.base, str(parent.folder))
    experiment = opened.experiment
    prepared = _described(experiment.prepared, newer, parent)
    return replace(opened, experiment=replace(experiment, prepared=prepared)), newer


def _look_before(
    further: Further, before: FittedVariant, model: RecModel, heads: Mapping[str, HeadOutcomes]
) -> NDArray[np.float32] | None:
    """Predict both windows with the run as it was; return its scores of what it learned from, if they are distilled."""
    prepared = further.prepared
    with scoring_windows(before.model, prepared):
        predict_windows(heads, "before", before, prepared)
        if not prepared.recipe.update.distill:
            return None
        return raw_without_own(model, prepared.train.take(np.arange(further.old)))


def _described(prepared: Prepared, newer: NewerData, parent: Parent) -> Prepared:
    """Give items that the newer data does not describe the text that the run read of them."""
    if not len(newer.undescribed):
        return prepared
    texts, wordings = list(prepared.texts), [list(one) for one in prepared.wordings]
    for index in newer.undescribed.tolist():
        for some in (texts, *wordings):
            some[index] = parent.items.texts[index - 1]
    return replace(prepared, texts=tuple(texts), wordings=tuple(map(tuple, wordings)))


def _drift(prepared: Prepared, newer: NewerData, primary: HeadOutcomes, text: Any) -> dict[str, Any]:
    """Say how the newer data differs, and how far the run's predictions are off."""
    train, span = prepared.train, prepared.dataset.rating_range
    parts = {"newest": (primary.test["before"], prepared.test), "old": (primary.valid["before"], prepared.valid)}
    rows = np.concatenate([prepared.split.train[newer.old :], prepared.split.test])
    new = prepared.interactions.take(rows)
    vectors = None if text is None else text.float().cpu().numpy()
    head = prepared.recipe.reads.primary
    off = {name: calibration(head, outcome, part, span) for name, (outcome, part) in parts.items()}
    return {
        **data_drift(train.take(np.arange(newer.old)), new, prepared.vocabulary.num_items, vectors),
        "calibration": None if off["newest"] is None else off,
        primary.metric: {name: primary.measure.report(*one)[primary.metric] for name, one in parts.items()},
    }


def _step(
    prepared: Prepared,
    newer: NewerData,
    updated: Updated,
    metric: str,
    newest: Compared,
    old: Compared,
    forced: bool,
) -> Step:
    """Return what the lineage says of the updated run."""
    return Step(
        recipe=prepared.recipe.name,
        data=prepared.digest,
        users=len(prepared.vocabulary.users),
        items=len(prepared.vocabulary.items),
        learned=len(prepared.train),
        new=newer.new,
        replayed=updated.replayed,
        epochs=prepared.recipe.training.epochs,
        metric=metric,
        newest=newest,
        old=old,
        forced=forced,
    )


def _metrics(
    prepared: Prepared,
    heads: Mapping[str, HeadOutcomes],
    updated: Updated,
    step: Step,
    parent: Parent,
    promoted: bool,
    drift: Mapping[str, Any],
) -> dict[str, Any]:
    """Report an update in the layout of a training's ``metrics.json``; its validation part is the old window."""
    recipe = prepared.recipe
    primary, *others = heads
    told_of = {name: {**one.report(), "before": "run"} for name, one in heads.items()}
    fitted, told = updated.fitted, step.model_dump(mode="json")
    assert step.newest is not None and step.old is not None  # noqa: S101 - of an update
    told |= {"examples": recipe.update.epochs * (step.new + step.replayed), "reason": reason(step.newest, step.old)}
    return {
        "recipe": recipe.name,
        "head": primary,
        "seed": recipe.seed,
        "protocol": {**protocol_of(recipe, heads[primary].task), "split": "newest window"},
        **told_of[primary],
        **({"heads": {name: told_of[name] for name in others}} if others else {}),
        "weights": {**updated.model.report(), **{name: one.report() for name, one in updated.model.heads.items()}},
        "training": {"epochs": recipe.training.epochs, "history": [], "refit": False},
        "seconds": {"train": round(fitted.seconds, 3)},
        "peak_memory_mb": {"rss": round(fitted.peak_rss_mb, 1), "cuda": peak_cuda_mb()},
        "data": data_report(prepared),
        "update": {"parent": parent.manifest.digest, "promoted": promoted, **told},
        "drift": dict(drift),
        "notes": updated.notes,
    }
