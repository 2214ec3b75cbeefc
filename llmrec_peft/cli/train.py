"""`llmrec train`: a recipe becomes a run folder."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft import registry
from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.backbone.preflight import require_possible
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import TRAIN, Command
from llmrec_peft.cli.figures import print_figures
from llmrec_peft.cli.output import print_json, print_line
from llmrec_peft.errors import InputError, InterruptedTrainingError
from llmrec_peft.printable import shown
from llmrec_peft.recipe import Recipe, load_recipe, run_folder
from llmrec_peft.recipe.yaml_file import parse_override
from llmrec_peft.regular_files import is_file


def train(
    recipe: Annotated[str | None, parameters.recipe_unless("--resume")] = None,
    data: parameters.Data = None,
    overrides: parameters.Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Run folder to write.", show_default="runs/NAME-seedN"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run; without RECIPE, with its own settings.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that exists; what is no run is never replaced.")
    ] = False,
    start_from: Annotated[
        list[Path] | None,
        typer.Option(
            "--start-from",
            metavar="RUN",
            help="Begin with the adapter of a run on the same base, instead of a fresh one; of several, with their"
            " mean. May be repeated.",
        ),
    ] = None,
    start_nearest: Annotated[
        int | None,
        typer.Option(
            "--start-nearest",
            metavar="N",
            help="Of these runs, take the N whose items' texts are nearest to the items here.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json on stdout.")] = False,
    quiet: parameters.Quiet = False,
) -> None:
    """Train a recipe and write a run folder.

    Prints the metrics before and after tuning beside those of the baselines.

    Examples:
      llmrec train movies --data demo
      llmrec train movies --data data/ml-100k --set seed=7 --out runs/films
      llmrec train --resume --out runs/films
      llmrec train movies --data data/new-shop --start-from runs/films
    """
    changes: dict[str, Any] = {} if data is None else {"data.path": data}
    if recipe is None or (resume and out is None and _is_run(recipe)):
        run, resolved = _resumed(recipe, out, resume, overrides or [], changes)
    else:
        resolved = load_recipe(recipe, overrides or [], changes)
        run = out or run_folder(resolved)

    require_possible(resolved)  # before torch is imported: an impossible pair is said at once

    from llmrec_peft.experiment.starting import AskedStart
    from llmrec_peft.workflows.train import train as train_recipe

    given = start_from or start_nearest is not None
    start = AskedStart(tuple(start_from or ()), start_nearest) if given else None
    try:
        metrics = train_recipe(resolved, run, resume=resume, overwrite=overwrite, show=not quiet, start_from=start)
    except KeyboardInterrupt:
        if not Workspace(run, "training").resumable:
            raise
        more = " --overwrite" if run.exists() else ""
        begun = "".join(f" --start-from {shlex.quote(str(one))}" for one in start_from or ())
        begun += "" if start_nearest is None else f" --start-nearest {start_nearest}"
        command = f"llmrec train --resume{more} --out {shlex.quote(str(run))}{begun}"
        raise InterruptedTrainingError(f"{command} goes on from the last checkpoint") from None
    if int(os.environ.get("RANK", "0")) > 0:
        return  # the first of several processes reports
    if as_json:
        print_json(metrics)
        return
    try:
        print_figures(metrics)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if not resume:
            raise
        raise InputError(f"{shown(run / 'metrics.json')} is not what a training writes ({error!r})") from None
    print_line(f"run folder: {run}")


def _is_run(name: str) -> bool:
    """Whether the argument where a recipe stands names a run, finished or not."""
    run = Path(name)
    named = run.name not in ("", "..") and name not in registry.plugins("recipes")
    return named and (Workspace(run, "training").resumable or is_file(run / "manifest.json"))


def _resumed(
    named: str | None, out: Path | None, resume: bool, overrides: list[str], changes: dict[str, Any]
) -> tuple[Path, Recipe]:
    """Return the run to go on with and its own recipe, changed as asked.

    Raises:
        InputError: When there is none.
    """
    if not resume or (named is None and out is None):
        raise InputError(
            "say what to train: a registered recipe (llmrec list recipes) or a YAML file;"
            " llmrec train --resume --out DIR goes on with an interrupted run"
        )
    run = out or Path(str(named))

    from llmrec_peft.experiment.resuming import stored_recipe

    recipe, edits = stored_recipe(run), {**changes, **dict(parse_override(override) for override in overrides)}
    return run, recipe.changed(edits) if edits else recipe


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", cls=Command, rich_help_panel=TRAIN)(train)
