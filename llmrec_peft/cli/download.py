"""`llmrec download`: a recipe's data from its owner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft import registry
from llmrec_peft.cli.command import RECIPES, Command
from llmrec_peft.cli.output import print_line
from llmrec_peft.errors import InputError
from llmrec_peft.progress import note
from llmrec_peft.recipe import reader_name


def download(
    recipe: Annotated[str, typer.Argument(help="Registered recipe or reader (llmrec list recipes).", metavar="RECIPE")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to make.", show_default="data/READER")
    ] = None,
) -> None:
    """Download a recipe's data from its owner's address.

    The file's digest is checked, and what the recipe reads is unpacked. Needs a network.

    Examples:
      llmrec download movies
      llmrec download movies --out data/ml-100k
    """
    reader = reader_name(recipe)
    source = registry.get("readers", reader)
    if source.download is None:
        raise InputError(f"the owner of {recipe}'s data offers no download; see docs/data.md")
    target = out or Path("data") / reader
    note(source.download.licence)

    from llmrec_peft.data.download import fetch

    fetch(source.download, target)
    print_line(f"{target} is ready: llmrec train {recipe} --data {target}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("download", cls=Command, rich_help_panel=RECIPES)(download)
