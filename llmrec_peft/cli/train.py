"""`llmrec train`: a recipe becomes a run folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec_peft.backbone.preflight import require_possible
from llmrec_peft.cli.output import metrics_table, print_json
from llmrec_peft.recipe import load_recipe


def train(
    recipe: Annotated[str, typer.Argument(help="Registered recipe, or a YAML file.", metavar="RECIPE|FILE.yaml")],
    data: Annotated[str | None, typer.Option("--data", help="Data folder in its owner's layout, or 'demo'.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a field; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder [default: runs/NAME-seedN].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes, no progress bars.")] = False,
) -> None:
    """Train a recipe: figures before and after tuning, baselines, and a run folder to use.

    Examples:
      llmrec train movies --data demo
      llmrec train movies --data ml-100k --set data.graph=ml-100k-kg --set seed=7 --out runs/films
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
        metrics_table(metrics)
        typer.echo(f"run folder: {run}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)
