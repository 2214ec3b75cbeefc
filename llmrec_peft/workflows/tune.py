"""Tune: search the values of a recipe's fields that are best on validation."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.place import require_file
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.experiment import open_run
from llmrec_peft.experiment.prepare import read_source
from llmrec_peft.experiment.trials import Trials
from llmrec_peft.printable import shown
from llmrec_peft.progress import Progress
from llmrec_peft.recipe import DEMO, Recipe
from llmrec_peft.recipe.checked_space import require_space
from llmrec_peft.training.accelerator import processes_asked_for
from llmrec_peft.workflows.search import Search
from llmrec_peft.workflows.study import (
    open_study,
    public_url,
    require_optuna,
    storage_errors,
)
from llmrec_peft.writing.train_writer import is_writing


def tune(
    recipe: Recipe, trials: int, storage: str, out: Path, overwrite: bool = False, show: bool = True
) -> dict[str, Any]:
    """Search the values of the fields under `tune` that are best on the validation part, and write the best recipe.

    The recipe's own values are tried first, so the result is never worse than they are. A trial trains on the training
    part alone and is ended early where it does worse than the median of the earlier ones. The test part is not
    predicted. Each trial is stored as it ends, under a name made of everything that decides its figures: the same
    command goes on after an interruption, and several processes with one storage share the work.

    Args:
        recipe: The recipe, with its search space.
        trials: Trials of the study, at least 1; those that are stored already count.
        storage: URL of a database.
        out: YAML file of the best recipe. For made-up data an empty ``NAME.demo.yaml`` is written beside it, since the
            reader's own settings for made-up data would replace the values that were found.
        overwrite: Whether that file may be replaced.
        show: Whether to print notes and progress bars on stderr.

    Returns:
        The study, its trials, the recipe's own and the best figure with their values, and the importance of each field.

    Raises:
        InputError: When recipe, data, base model, storage or output file are not right.
    """
    progress = Progress(show)
    require_optuna()
    require_space(recipe)
    require_file(out, overwrite)
    if is_writing(recipe):
        raise InputError(f"head {recipe.head.name}: its texts are not searched by a figure; llmrec train trains it")
    if processes_asked_for() > 1:
        raise InputError("llmrec tune trains in one process: start the command several times with one --storage")
    recipe = recipe.unserved()
    dataset = read_source(recipe.data)
    with tempfile.TemporaryDirectory(prefix="llmrec-tune-") as folder:
        opened = open_run(recipe.changed({"training.checkpoint_seconds": 1e9}), Path(folder), progress, dataset)
        found = Trials(opened, dataset)
        search = Search(found, progress, trials)
        study = open_study(storage, f"{recipe.name}-{found.digest()[:16]}", found.lower_is_better, recipe.seed)
        progress.note(f"study {study.study_name} in {public_url(storage)}")
        with storage_errors(storage):
            search.go(study)
            report = search.report(study)
    report["storage"] = public_url(storage)
    best = recipe.changed(report["best"]["values"])
    _write(best, out, overwrite)
    return {**report, "recipe": str(out)}


def _write(best: Recipe, out: Path, overwrite: bool) -> None:
    """Write the best recipe, whole; where data are made up, with settings for them that change nothing."""
    if best.data.path == DEMO:
        beside = out.with_name(f"{out.stem}.demo.yaml")
        with whole_file(beside) as partial:
            partial.write_text(
                f"# {shown(out.name)} was tuned on made-up data and holds all settings.\n{{}}\n", "utf-8"
            )
    with whole_file(out, overwrite) as partial:
        partial.write_text(best.to_yaml(), encoding="utf-8")
