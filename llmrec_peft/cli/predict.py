"""`llmrec predict`: scores for a file of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    source: Annotated[Path, typer.Option("--input", help="CSV or Parquet with user_id and item_id.")],
    target: Annotated[Path, typer.Option("--output", help="CSV or Parquet to write, by its ending.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
) -> None:
    """Score pairs from a file, a chunk at a time; the output appears whole or not at all.

    The output has the input's columns, `score`, and `basis`: personal, unknown-user, or text for an item
    that the run does not know and whose text columns the input gives.
    """
    from llmrec_peft.workflows.predict import predict as predict_file

    rows = predict_file(run, source, target, overwrite)
    typer.echo(f"{rows} scores in {target}", err=True)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)
