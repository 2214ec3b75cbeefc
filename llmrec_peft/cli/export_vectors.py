"""`llmrec export-vectors`: a run's item or user vectors for an index of nearest neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export_vectors(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path, typer.Option("--out", help="Arrow IPC file to write.")],
    users: Annotated[
        bool, typer.Option("--users", help="Users' vectors instead of items'; they tell of people, keep them private.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Write vectors whose inner products are the run's scores, the offset as the last dimension.

    For heads whose score is such a product: ranking, retrieval, rating, and click by pairs.

    Examples:
      llmrec export-vectors run --out items.arrow
      llmrec export-vectors run --out users.arrow --users
    """
    from llmrec_peft.workflows.export_vectors import export_vectors as export

    rows = export(run, out, users, overwrite)
    typer.echo(f"{rows} vectors in {out}", err=True)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export-vectors")(export_vectors)
