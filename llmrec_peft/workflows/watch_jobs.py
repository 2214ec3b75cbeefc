"""Jobs of a watch: train the first run, update the current one, recognize what an earlier process finished."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.artifact.names import next_folder
from llmrec_peft.artifact.place import occupied
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.resuming import BegunOtherwiseError
from llmrec_peft.printable import shown
from llmrec_peft.recipe import Recipe
from llmrec_peft.workflows.train import train
from llmrec_peft.workflows.update import Asked, update


def train_run(recipe: Recipe, run: Path, resume: bool, show: bool) -> dict[str, Any]:
    """Train the first run, or go on with it; what was begun with other settings is begun anew.

    Raises:
        InputError: When anything is not right.
    """
    if resume:
        with contextlib.suppress(BegunOtherwiseError):
            return train(recipe, run, resume=True, show=show)
    return train(recipe, run, overwrite=resume, show=show)


def update_run(
    current: Path, data: Path, run: Path, dataset: RecDataset, overrides: tuple[str, ...], resume: bool, show: bool
) -> dict[str, Any]:
    """Update a run, or go on with its update; what was begun with other settings is begun anew.

    Args:
        current: The run.
        data: What the recipe of the updated run names as its data: the newest delivery.
        run: Folder of the updated run.
        dataset: All deliveries, joined.
        overrides: ``field=value`` of the update.
        resume: Whether it was begun before.
        show: Whether to print notes and progress bars on stderr.

    Raises:
        InputError: When anything is not right.
    """
    if resume:
        with contextlib.suppress(BegunOtherwiseError):
            return update(current, str(data), run, Asked(resume=True, overrides=overrides, show=show), dataset)
    return update(current, str(data), run, Asked(overwrite=resume, overrides=overrides, show=show), dataset)


def finished_metrics(run: Path, current: Path | None) -> dict[str, Any]:
    """Return the metrics of a run that an earlier process finished without saying so, and tidy up after it.

    Args:
        run: The run.
        current: The run that it was updated from; None if it is the first one.

    Raises:
        InputError: If it was made otherwise.
    """
    metrics = SealedFolder.open(run).report()
    told = metrics.get("update")
    parent = told.get("parent") if isinstance(told, dict) else None
    if parent != (None if current is None else read_manifest(current).digest):
        raise InputError(f"{shown(run)} exists already and was made otherwise: move it away")
    discard(run)
    return metrics


def discard(run: Path) -> None:
    """Remove what an interrupted training left beside a run's place; nothing if another process trains there."""
    workspace = Workspace(run, "training")
    if workspace.left_behind():
        with contextlib.suppress(InputError):
            workspace.take()
            workspace.remove()


def free_folder(current: Path, out: Path) -> Path:
    """Return the next free place in `out` for an update of a run; no run and no interrupted one lies there."""
    run = next_folder(out / current.name)
    while occupied(run) or Workspace(run, "training").left_behind():
        run = next_folder(run)
    return run
