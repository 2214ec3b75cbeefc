"""`llmrec export-vectors`: a run's item or user vectors for an index of nearest neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import USE, Command
from llmrec_peft.cli.output import print_note


def export_vectors(
    run: parameters.Run,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Arrow IPC file to write.")],
    users: Annotated[
        bool,
        typer.Option(
            "--users", help="Write users' vectors instead of items'; they are personal data, keep them private."
        ),
    ] = False,
    overwrite: parameters.Overwrite = False,
) -> None:
    """Write vectors whose inner products are the run's scores.

    The offset of a score is the vector's last dimension. Works for heads whose score is such a product: ranking,
    retrieval, rating, and click by pairs.

    Examples:
      llmrec export-vectors runs/movies-seed1 --out items.arrow
      llmrec export-vectors runs/movies-seed1 --out users.arrow --users
    """
    from llmrec_peft.workflows.export_vectors import export_vectors as export

    rows = export(run, out, users, overwrite)
    print_note(f"{rows} vectors in {out}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export-vectors", cls=Command, rich_help_panel=USE)(export_vectors)
