"""`llmrec convert`: a run folder of the former format brought to this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import COMPARE, Command
from llmrec_peft.cli.output import print_json, print_line


def convert(
    run: parameters.Run,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; by default RUN itself is replaced.", show_default=False)
    ] = None,
    as_json: parameters.Json = False,
) -> None:
    """Bring a run folder of format 3 to the format that this version reads.

    Weights are copied as they are; ids, titles and histories change their file.
    What was written is read back and compared before it takes its place.
    The run gets another digest; its manifest keeps the former one.

    Examples:
      llmrec convert runs/movies-seed1
      llmrec convert runs/movies-seed1 --out runs/movies-seed1-new
    """
    from llmrec_peft.workflows.convert import convert as converted

    told = converted(run, out)
    if as_json:
        print_json(told)
        return
    print_line(f"{told['run']}: format {told['format']}, {told['former'][:12]} is now {told['digest'][:12]}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert", cls=Command, rich_help_panel=COMPARE)(convert)
