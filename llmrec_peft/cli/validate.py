"""`llmrec validate`: is this recipe right?"""

from __future__ import annotations

from typing import Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import RECIPES, Command
from llmrec_peft.cli.output import print_json, print_line, print_text
from llmrec_peft.recipe import load_recipe


def validate(
    recipe: parameters.Recipe,
    overrides: parameters.Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the recipe with every default as JSON.")] = False,
    resolved: Annotated[bool, typer.Option("--resolved", help="Print the recipe with every default as YAML.")] = False,
) -> None:
    """Check a recipe without reading data or loading a model.

    Examples:
      llmrec validate films.yaml
      llmrec validate movies --set adapter.rank=4 --resolved
    """
    checked = load_recipe(recipe, overrides or [])
    if as_json:
        print_json(checked.plain())
    elif resolved:
        print_text(checked.to_yaml())
    else:
        print_line(
            f"{recipe} is a valid recipe: {checked.adapter.method} in {checked.backbone.name}, {checked.head.name}"
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate", cls=Command, rich_help_panel=RECIPES)(validate)
