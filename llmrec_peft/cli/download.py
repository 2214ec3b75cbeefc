"""`llmrec download`: a domain's data from its owner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.progress import note
from llmrec_peft.recipe import reader_name


def download(
    recipe: Annotated[str, typer.Argument(help="Registered recipe or reader.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder to make [default: data/READER].")] = None,
) -> None:
    """Fetch a recipe's data from its owner's address, check its digest, unpack what the reader reads."""
    reader = reader_name(recipe)
    source = registry.get("readers", reader)
    if source.download is None:
        raise InputError(f"the owner of {recipe}'s data offers no download; see docs/data.md")
    target = out or Path("data") / reader
    note(source.download.licence)

    from llmrec_peft.data.download import fetch

    fetch(source.download, target)
    typer.echo(f"{target} is ready: llmrec train {recipe} --data {target}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("download")(download)
