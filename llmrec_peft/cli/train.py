"""`llmrec train`: a recipe becomes a run folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft.backbone.preflight import require_possible
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import TRAIN, Command
from llmrec_peft.cli.figures import print_figures
from llmrec_peft.cli.output import print_json, print_line
from llmrec_peft.recipe import load_recipe


def train(
    recipe: parameters.Recipe,
    data: parameters.Data = None,
    overrides: parameters.Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Run folder to write.", show_default="runs/NAME-seedN"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json on stdout.")] = False,
    quiet: parameters.Quiet = False,
) -> None:
    """Train a recipe and write a run folder.

    Prints the metrics before and after tuning beside those of the baselines.

    Examples:
      llmrec train movies --data demo
      llmrec train movies --data data/ml-100k --set seed=7 --out runs/films
    """
    changes: dict[str, Any] = {} if data is None else {"data.path": data}
    resolved = load_recipe(recipe, overrides or [], changes)
    run = out or Path("runs") / f"{resolved.name.replace(' ', '-')}-seed{resolved.seed}"

    require_possible(resolved)  # before torch is imported: an impossible pair is said at once

    from llmrec_peft.workflows.train import train as train_recipe

    metrics = train_recipe(resolved, run, resume=resume, overwrite=overwrite, show=not quiet)
    if int(os.environ.get("RANK", "0")) > 0:
        return  # the first of several processes reports
    if as_json:
        print_json(metrics)
    else:
        print_figures(metrics)
        print_line(f"run folder: {run}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", cls=Command, rich_help_panel=TRAIN)(train)
