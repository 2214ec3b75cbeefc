"""`llmrec init`: copy a recipe to own and edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.place import require_file
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import RECIPES, Command
from llmrec_peft.cli.output import print_line
from llmrec_peft.recipe import recipe_path


def init(
    name: Annotated[str, typer.Argument(help="Registered recipe (llmrec list recipes).", metavar="RECIPE")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="YAML file to write.", show_default="RECIPE.yaml")
    ] = None,
    overwrite: parameters.Overwrite = False,
) -> None:
    """Copy a recipe's YAML, comments included, into a file of your own.

    Examples:
      llmrec init movies
      llmrec init movies --out films.yaml
    """
    source = recipe_path(name)
    target = out or Path(f"{Path(name).stem}.yaml")
    copies = {target: source}
    demo = source.with_name(f"{source.stem}.demo.yaml")
    if demo.is_file():  # settings of this recipe alone for made-up data, found by their name
        copies[target.with_name(f"{target.stem}.demo.yaml")] = demo
    for copy in copies:
        require_file(copy, overwrite)  # both, before one is written
    for copy, original in copies.items():
        with whole_file(copy, overwrite) as partial:
            partial.write_text(original.read_text(encoding="utf-8"), encoding="utf-8")
    print_line(f"{target} written; edit it, then: llmrec train {_as_path(target)} --data DIR")


def _as_path(target: Path) -> str:
    return str(target) if target.suffix in (".yaml", ".yml") else f"./{target}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init", cls=Command, rich_help_panel=RECIPES)(init)
