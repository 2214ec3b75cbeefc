"""`llmrec predict`: scores for a file of pairs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.backbone.remote_code import is_allowed
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import USE, Command
from llmrec_peft.cli.output import print_json, print_note
from llmrec_peft.errors import InputError


class Format(StrEnum):
    """Format of stdin and stdout."""

    csv = "csv"
    parquet = "parquet"


def predict(
    run: parameters.Run,
    source: Annotated[
        Path,
        typer.Option(
            "--input", metavar="FILE|-", help="CSV or Parquet file with columns user_id and item_id; - for stdin."
        ),
    ],
    target: Annotated[
        Path,
        typer.Option("--output", metavar="FILE|-", help="File to write: CSV or Parquet, by its ending; - for stdout."),
    ],
    unknown: Annotated[
        parameters.Unknown,
        typer.Option(
            metavar="WHAT",
            help="A row of a user that the run does not know, or of an item that it does not know and that has no"
            " text: skip leaves it without a score; popular scores it for the average user, if the item has a score;"
            " refuse ends with an error and writes nothing.",
        ),
    ] = parameters.Unknown.skip,
    form: Annotated[
        Format, typer.Option("--format", metavar="FORMAT", help="Format of stdin and stdout: csv or parquet.")
    ] = Format.csv,
    ray: parameters.Ray = False,
    workers: parameters.Workers = None,
    gpus: parameters.WorkerGpus = 0.0,
    overwrite: parameters.Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers of rows as JSON on stdout.")] = False,
    quiet: parameters.NoBar = False,
) -> None:
    """Score the pairs of user and item in a file.

    The output has the input's rows and columns as they were given, then `score`, and `basis`: "personal"; "text" for an
    item that the run does not know and whose text columns the input gives; "unknown-user"; or "unknown-item". The
    file is read and scored a chunk at a time; the output appears whole or not at all. Ids are texts and are compared as
    they are written: 1.0 and " 1" are not user 1. How many rows are of unknown users and items, and how many new
    items' texts were cut, is said on stderr.

    With --ray several workers share the file, and give the scores that one process gives, see docs/ray.md.

    Examples:
      llmrec predict runs/movies-seed1 --input pairs.csv --output scores.parquet
      llmrec predict runs/movies-seed1 --input - --output - --unknown popular
      llmrec predict runs/movies-seed1 --input pairs.csv --output out.csv --ray
    """
    from llmrec_peft.cluster.pool import Pool
    from llmrec_peft.workflows.predict import predict as predict_file
    from llmrec_peft.workflows.streams import STREAM

    if as_json and target == STREAM:
        raise InputError("--json and --output - would both write to stdout: name a file")
    pool = Pool(ray, workers, gpus, is_allowed())
    predicted = predict_file(run, source, target, overwrite, unknown.value, form.value, not quiet, pool)
    if as_json:
        print_json(predicted.plain())
    print_note(f"{predicted.scored} scores in {'stdout' if target == STREAM else target}")
    for line in predicted.notes(unknown.value):
        print_note(line)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict", cls=Command, rich_help_panel=USE)(predict)
