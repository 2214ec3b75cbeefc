"""The hidden folder beside a run while it is trained, and how it becomes the run."""

from __future__ import annotations

import glob
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.card import model_card
from llmrec_peft.artifact.folder import whole_file, whole_folder
from llmrec_peft.artifact.manifest import make_manifest, write_json
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.identity import __version__, values_digest
from llmrec_peft.recipe import Recipe


def training_folder(run: Path) -> Path:
    """Where the checkpoints of a run lie until it is finished."""
    return run.with_name(f".{run.name}.training")


def refuse_occupied(run: Path, resume: bool, overwrite: bool) -> dict[str, Any] | None:
    """Look for a run in the way.

    Returns:
        The metrics of a finished run that was to be resumed, else None.

    Raises:
        InputError: When a run, or an interrupted one, is there and nothing says what to do with it.
    """
    if run.exists() and not overwrite:
        if resume and (run / "metrics.json").is_file():
            shutil.rmtree(training_folder(run), ignore_errors=True)  # a kill came between publishing and tidying up
            return dict(json.loads((run / "metrics.json").read_text(encoding="utf-8")))
        raise InputError(f"{run} exists already: --overwrite replaces it, --out names another folder")
    if training_folder(run).exists() and not resume and not overwrite:
        raise InputError(f"an interrupted run of {run} is there: --resume goes on, --overwrite starts over")
    return None


def begun_here(work: Path, since: float) -> bool:
    """Whether this process made the hidden folder, after a moment (`time.time`): no other's work is thrown away."""
    try:
        stored = json.loads((work / "identity.json").read_text(encoding="utf-8"))
        return bool(stored["process"] == os.getpid() and stored["started"] >= since)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def claim(
    work: Path,
    prepared: Prepared,
    base: Mapping[str, str | None],
    resume: bool,
    overwrite: bool,
) -> float:
    """Make the hidden folder, or take an interrupted training of the same recipe, data and base up.

    Returns:
        Seconds that the interrupted training had taken; 0 for a new one.

    Raises:
        InputError: When the interrupted one was another, another training has begun there meanwhile, or the place
            cannot be written.
    """
    name = work.name.removesuffix(".training")
    for left in work.parent.glob(f"{glob.escape(name)}.*.new"):  # a kill came while a run was being published
        shutil.rmtree(left, ignore_errors=True)
    identity = values_digest([prepared.recipe.plain(), prepared.digest, base, __version__])
    path = work / "identity.json"
    if resume and path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["identity"] != identity:
            raise InputError(
                f"the interrupted run in {work} had another recipe, data, base model or version:"
                " resume it with the same ones, or start over with --overwrite"
            )
        touched = max(file.stat().st_mtime for file in work.rglob("*"))
        return max(0.0, touched - float(stored["started"]))
    if resume or overwrite:
        shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(parents=True)
        with whole_file(path) as partial:
            write_json(partial, {"identity": identity, "started": time.time(), "process": os.getpid()})
    except FileExistsError:
        raise InputError(f"another training has begun in {work}: --out names another folder") from None
    except (OSError, InputError) as error:
        shutil.rmtree(work, ignore_errors=True)
        raise InputError(f"cannot write beside {work}: {getattr(error, 'strerror', None) or error}") from None
    return 0.0


def publish(
    work: Path, run: Path, overwrite: bool, recipe: Recipe, metrics: Mapping[str, Any], base: dict[str, str | None]
) -> None:
    """Move the finished artifact into place as a whole and remove the hidden folder."""
    with whole_folder(run, overwrite) as folder:
        shutil.copytree(work / "artifact", folder, dirs_exist_ok=True)
        if (work / "logs").is_dir() and any((work / "logs").iterdir()):
            shutil.copytree(work / "logs", folder / "logs")
        write_json(folder / "metrics.json", metrics)
        write_json(folder / "manifest.json", make_manifest(folder, base, __version__).model_dump(mode="json"))
        (folder / "README.md").write_text(model_card(recipe, metrics), encoding="utf-8")
    shutil.rmtree(work, ignore_errors=True)
