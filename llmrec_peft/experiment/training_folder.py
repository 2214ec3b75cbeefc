"""The hidden folder beside a run while it is trained, and how it becomes the run."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.card import model_card
from llmrec_peft.artifact.folder import require_free, whole_file, whole_folder
from llmrec_peft.artifact.manifest import Manifest, make_manifest, write_json
from llmrec_peft.artifact.place import occupied
from llmrec_peft.artifact.workspace import RESUMABLE, Workspace
from llmrec_peft.errors import InputError, disk_is_full, reason_of
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.experiment.resuming import (
    PUBLISHED,
    Begun,
    changes,
    finished_metrics,
    is_left_of,
    refusal_to_resume,
)
from llmrec_peft.identity import __version__, values_digest
from llmrec_peft.printable import shown
from llmrec_peft.recipe import Recipe
from llmrec_peft.regular_files import is_file


def training_folder(run: Path) -> Path:
    """Where the checkpoints of a run lie until it is finished."""
    return workspace_of(run).folder


def workspace_of(run: Path) -> Workspace:
    """Return the hidden folder of a run's training, which is not held yet."""
    return Workspace(run, "training")


def refuse_occupied(
    run: Path, resume: bool, overwrite: bool, recipe: Recipe, resolved: Callable[[Recipe], Recipe]
) -> dict[str, Any] | None:
    """Look for a run in the way.

    Args:
        run: Folder to make.
        resume: Whether to go on.
        overwrite: Whether a run that is there is replaced.
        recipe: What to train.
        resolved: Returns a recipe as the data lets it be.

    Returns:
        The metrics of a finished run that was to be resumed, else None.

    Raises:
        InputError: When a run is there that is not to be replaced, was trained otherwise, or is no run.
    """
    if not resume or overwrite or not occupied(run):
        require_free(run, overwrite)
        return None
    refuse_replacement(run)
    if not is_file(run / "metrics.json"):
        require_free(run, overwrite)
    metrics = finished_metrics(run, recipe, resolved)
    tidy_up(run)
    return metrics


def refuse_replacement(run: Path) -> None:
    """Refuse to call a run finished beside which an interrupted one lies that was to replace it.

    Raises:
        InputError: Saying how to go on.
    """
    workspace = workspace_of(run)
    if workspace.resumable and not is_left_of(workspace):
        raise InputError(
            f"{shown(run)} is finished, and an interrupted run that was to replace it is there:"
            " --resume --overwrite goes on with that, --overwrite starts over"
        )


def tidy_up(run: Path) -> None:
    """Remove the hidden folder of a finished run, which a kill between publishing and tidying up left behind.

    Nothing happens if another process holds it, or if this one is not the first of several.
    """
    workspace = workspace_of(run)
    if workspace.left_behind() and _is_first():
        with contextlib.suppress(InputError):
            workspace.take()
            workspace.remove()


@contextlib.contextmanager
def held_for_training(run: Path, resume: bool, overwrite: bool) -> Iterator[None]:
    """Hold the hidden folder of a run inside the block, against other processes; only the first of several does.

    At the end it is gone, unless a training that can be resumed lies there: one that was interrupted, or an earlier
    one that this process did not get to go on with.

    Raises:
        InputError: When another process trains there, an interrupted training is in the way, the place cannot be
            written, or the disk is full.
    """
    if not _is_first():
        yield
        return
    workspace, began = workspace_of(run), time.time()
    workspace.take()
    keeps = not (workspace.fresh or resume or overwrite)
    try:
        if keeps:
            raise InputError(f"an interrupted run of {shown(run)} is there: --resume goes on, --overwrite starts over")
        require_free(run, overwrite)  # a former run that a kill had left aside is back
        if resume and workspace.resumable:
            Begun.read(workspace.folder)  # a broken one is refused before data and base are read
        yield
    except BaseException as error:
        full = disk_is_full(error)
        vain = (full or isinstance(error, InputError)) and begun_here(workspace.folder, began)
        keeps = keeps or (workspace.resumable and not vain)
        if not full:
            raise
        raise InputError(f"{shown(run)}: no room on the disk; the run was not written") from None
    finally:
        if keeps:
            workspace.release()
        else:
            workspace.remove()


def begun_here(work: Path, since: float) -> bool:
    """Whether this process began the training in a hidden folder, after a moment (`time.time`)."""
    try:
        begun = Begun.read(work)
    except InputError:
        return False
    return begun.process == os.getpid() and begun.started >= since


def claim(
    run: Path,
    asked: Recipe,
    prepared: Prepared,
    base: Mapping[str, str | None],
    resume: bool,
    parent: str | None = None,
) -> float:
    """Begin a training in the hidden folder, which is held, or take an interrupted one of the same settings up.

    Args:
        run: Run folder to make.
        asked: Recipe as it was given.
        prepared: Data, and the recipe as it lets it be.
        base: Identity of the base model.
        resume: Whether an interrupted training is taken up; else it is thrown away.
        parent: Digest of the run that the training goes on from; None where it begins anew.

    Returns:
        Seconds that the interrupted training had taken; 0 for a new one.

    Raises:
        InputError: When the interrupted one was another, or the place cannot be written.
    """
    workspace = workspace_of(run)
    settings, version = prepared.recipe.plain(), __version__
    from_run = [] if parent is None else [parent]
    identity = values_digest([settings, prepared.digest, base, version, *from_run])
    path = workspace.folder / RESUMABLE
    if resume and occupied(path):
        begun = Begun.read(workspace.folder)
        if begun.identity != identity:
            raise refusal_to_resume(run, changes(begun, settings, prepared.digest, base, version, parent))
        saved = [file.stat().st_mtime for file in (path, *workspace.folder.rglob("progress.json"))]
        return max(0.0, max(saved) - begun.started)
    workspace.empty()
    about = {"asked": asked.plain(), "settings": settings, "data": prepared.digest, "base": base, "version": version}
    about |= {} if parent is None else {"parent": parent}
    try:
        with whole_file(path) as partial:
            write_json(partial, {"identity": identity, "started": time.time(), "process": os.getpid(), **about})
    except (OSError, InputError) as error:
        raise InputError(f"cannot write beside {shown(run)}: {reason_of(error)}") from None
    return 0.0


def publish(
    run: Path, overwrite: bool, recipe: Recipe, metrics: Mapping[str, Any], base: dict[str, str | None]
) -> None:
    """Move the finished artifact in the hidden folder, which is held, into the run's place as a whole."""
    workspace = workspace_of(run)
    work = workspace.folder
    with whole_folder(run, overwrite, workspace) as folder:
        shutil.copytree(work / "artifact", folder, dirs_exist_ok=True)
        if (work / "logs").is_dir() and any((work / "logs").iterdir()):
            shutil.copytree(work / "logs", folder / "logs")
        write_json(folder / "metrics.json", metrics)
        manifest = make_manifest(folder, base, __version__)
        write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
        (folder / "README.md").write_text(model_card(recipe, metrics), encoding="utf-8")
        announce(run, manifest)


def announce(run: Path, manifest: Manifest) -> None:
    """Write into the hidden folder which run it is about to become, so that a kill after that loses nothing."""
    with whole_file(workspace_of(run).folder / PUBLISHED) as partial:
        write_json(partial, {"digest": manifest.digest})


def _is_first() -> bool:
    """Whether this is the first of several processes that train together, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0
