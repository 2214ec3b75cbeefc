"""`llmrec list`: what is registered."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmrec_peft import registry
from llmrec_peft.backbone.adapter import Capabilities
from llmrec_peft.cli.adapter_matrix import KINDS, LEGEND, declared, matrix_of, matrix_row
from llmrec_peft.cli.output import print_json, print_table
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.recipe import registered_recipe
from llmrec_peft.testing.results import PRECISIONS


def list_plugins(
    kind: Annotated[str | None, typer.Argument(help="adapters, heads, signals, readers, recipes or backbones.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array on stdout.")] = False,
) -> None:
    """List adapters, heads, signals, readers, recipes and backbones, first-party and third-party alike.

    Of adapters alone, also where each works: a matrix of encoder or decoder, precision, merging and batching.
    """
    if kind is not None and kind not in registry.KINDS:
        raise InputError(f"unknown kind {kind!r}: {nearest(kind, registry.KINDS)}")
    full = kind == "adapters"
    rows = [
        _row(plugin, full) for one in ([kind] if kind else registry.KINDS) for plugin in registry.plugins(one).values()
    ]
    if as_json:
        print_json(rows)
        return
    if full:
        _print_matrix(rows)
        return
    if kind == "recipes":
        _print_recipes(rows)
        return
    body = [[row["kind"], row["name"], row["summary"] or f"broken: {row['error']}", row["package"]] for row in rows]
    print_table("", ["kind", "name", "what it is", "package"], body)
    _warn(rows)


def _print_matrix(rows: list[dict[str, Any]]) -> None:
    """Methods by what they can do, then by what they are."""
    cells = [[row["name"], *matrix_row(row["matrix"])] for row in rows if row.get("matrix")]
    columns = ["method", *(f"{kind[:3]} {precision}" for kind in KINDS for precision in PRECISIONS)]
    print_table("", [*columns, "mergeable", "batchable"], cells)
    typer.echo(LEGEND)
    body = [[row["name"], row["summary"] or f"broken: {row['error']}", row["package"]] for row in rows]
    print_table("", ["method", "what it is", "package"], body)
    _warn(rows)


def _print_recipes(rows: list[dict[str, Any]]) -> None:
    """Recipes with the reader of their data, domains apart from published benchmarks."""
    body = [
        [row["name"], row.get("category", ""), row.get("reader", ""), row["summary"] or f"broken: {row['error']}"]
        for row in rows
    ]
    print_table("", ["recipe", "kind", "reader", "what it is"], body)
    _warn(rows)


def _warn(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["error"]:
            typer.echo(f"warning: {row['error']}", err=True)


def _row(plugin: registry.Plugin, full: bool = False) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": plugin.kind, "name": plugin.name, "package": plugin.package}
    try:
        if plugin.kind == "recipes":
            recipe = registered_recipe(plugin.name)
            return row | {
                "summary": recipe.summary,
                "error": None,
                "reader": recipe.reader,
                "category": recipe.category,
            }
        loaded = registry.get(plugin.kind, plugin.name)
        row |= {"summary": str(getattr(loaded, "summary", "")), "error": None}
        capabilities = getattr(loaded, "capabilities", None)
        if full and isinstance(capabilities, Capabilities):
            row |= {"capabilities": declared(capabilities), "matrix": matrix_of(plugin.name, capabilities)}
    except InputError as error:
        row |= {"summary": None, "error": str(error)}
    return row


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list")(list_plugins)
