"""`llmrec predict`: scores for a file of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import USE, Command
from llmrec_peft.cli.output import print_note


def predict(
    run: parameters.Run,
    source: Annotated[
        Path, typer.Option("--input", metavar="FILE", help="CSV or Parquet file with columns user_id and item_id.")
    ],
    target: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="File to write: CSV or Parquet, by its ending.")
    ],
    overwrite: parameters.Overwrite = False,
) -> None:
    """Score the pairs of user and item in a file.

    The output has the input's columns, `score`, and `basis`: "personal"; "unknown-user"; or "text" for an item that
    the run does not know and whose text columns the input gives. The file is read and scored a chunk at a time; the
    output appears whole or not at all.

    Examples:
      llmrec predict runs/movies-seed1 --input pairs.csv --output scores.parquet
    """
    from llmrec_peft.workflows.predict import predict as predict_file

    rows = predict_file(run, source, target, overwrite)
    print_note(f"{rows} scores in {target}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict", cls=Command, rich_help_panel=USE)(predict)
