"""`llmrec validate`: is this recipe right?"""

from __future__ import annotations

from typing import Annotated

import typer

from llmrec_peft.cli.output import print_json
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.recipe import load_recipe


def validate(
    recipe: Annotated[str, typer.Argument(help="YAML file, or a registered recipe.", metavar="FILE")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a field; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the resolved recipe as JSON.")] = False,
    resolved: Annotated[bool, typer.Option("--resolved", help="Print the recipe with every default.")] = False,
) -> None:
    """Check a recipe without reading data or loading a model."""
    checked = load_recipe(recipe, overrides or [])
    ViewTemplate(checked.views.item.template)
    if as_json:
        print_json(checked.plain())
    elif resolved:
        typer.echo(checked.to_yaml(), nl=False)
    else:
        typer.echo(
            f"{recipe} is a valid recipe: {checked.adapter.method} in {checked.backbone.name}, {checked.head.name}"
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate")(validate)
