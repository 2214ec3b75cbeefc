"""`llmrec list`: what is installed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmrec_peft import registry
from llmrec_peft.backbone.adapter import Capabilities
from llmrec_peft.cli.adapter_matrix import KINDS, LEGEND, declared, matrix_of, matrix_row
from llmrec_peft.cli.command import LOOK, Command
from llmrec_peft.cli.output import print_json, print_line, print_note, print_table
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.recipe import registered_recipe
from llmrec_peft.recipe.described import described
from llmrec_peft.testing.results import PRECISIONS


def list_plugins(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND", help="adapters, heads, signals, readers, recipes or backbones.", show_default="all of them"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array on stdout.")] = False,
) -> None:
    """List the installed adapters, heads, signals, readers, recipes and backbones.

    Plugins of other packages are listed too. `llmrec list adapters` also shows where each method works: in encoders or
    decoders, in which precision, whether it can be merged, and whether rows of many tenants share a pass. `llmrec list
    recipes --json` also has the data, heads, signals and language model of each, and what it reached on real data.

    Examples:
      llmrec list
      llmrec list adapters --json
      llmrec list recipes --json
    """
    if kind is not None and kind not in registry.KINDS:
        raise InputError(f"unknown kind {kind!r}: {nearest(kind, registry.KINDS)}")
    full = kind == "adapters" or (kind == "recipes" and as_json)
    rows = [
        _row(plugin, full) for one in ([kind] if kind else registry.KINDS) for plugin in registry.plugins(one).values()
    ]
    if as_json:
        print_json(rows)
        return
    if kind == "adapters":
        _print_matrix(rows)
        return
    for one in dict.fromkeys(row["kind"] for row in rows):
        of_kind = [row for row in rows if row["kind"] == one]
        if one == "recipes":
            _print_recipes(of_kind)
        else:
            _print_summaries(one, of_kind)
    _warn(rows)


def _print_summaries(title: str, rows: list[dict[str, Any]]) -> None:
    body = [[row["name"], row["summary"] or f"broken: {row['error']}", row["package"]] for row in rows]
    print_table(title, ["name", "what it is", "package"], body)


def _print_recipes(rows: list[dict[str, Any]]) -> None:
    """Print the recipes with the reader of their data, and whether each is a domain's or a published benchmark."""
    body = [
        [row["name"], row.get("category", ""), row.get("reader", ""), row["summary"] or f"broken: {row['error']}"]
        for row in rows
    ]
    print_table("recipes", ["name", "kind", "reader", "what it is"], body)


def _print_matrix(rows: list[dict[str, Any]]) -> None:
    """Print where each method works, then what each is."""
    cells = [[row["name"], *matrix_row(row["matrix"])] for row in rows if row.get("matrix")]
    columns = ["method", *(f"{kind[:3]} {precision}" for kind in KINDS for precision in PRECISIONS)]
    print_table("", [*columns, "mergeable", "mixing"], cells)
    print_line(LEGEND)
    for row in rows:
        if (why := row.get("matrix", {}).get("grouped_because")) is not None:
            print_line(f"{row['name']} is grouped: {why}")
    print_line("")
    _print_summaries("", rows)
    _warn(rows)


def _warn(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["error"]:
            print_note(f"warning: {row['error']}")


def _row(plugin: registry.Plugin, full: bool = False) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": plugin.kind, "name": plugin.name, "package": plugin.package}
    try:
        if plugin.kind == "recipes":
            return row | (described(plugin.name) if full else _in_short(plugin.name)) | {"error": None}
        loaded = registry.get(plugin.kind, plugin.name)
        row |= {"summary": str(getattr(loaded, "summary", "")), "error": None}
        capabilities = getattr(loaded, "capabilities", None)
        if full and isinstance(capabilities, Capabilities):
            row |= {"capabilities": declared(capabilities), "matrix": matrix_of(plugin.name, capabilities)}
    except InputError as error:
        row |= {"summary": None, "error": str(error)}
    return row


def _in_short(name: str) -> dict[str, Any]:
    """Describe a recipe without validating it."""
    recipe = registered_recipe(name)
    return {"summary": recipe.summary, "reader": recipe.reader, "category": recipe.category}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list", cls=Command, rich_help_panel=LOOK)(list_plugins)
