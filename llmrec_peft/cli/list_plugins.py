"""`llmrec list`: what is registered."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmrec_peft import registry
from llmrec_peft.cli.output import print_json, print_table
from llmrec_peft.errors import InputError, nearest


def list_plugins(
    kind: Annotated[str | None, typer.Argument(help="adapters, heads, signals, recipes or backbones.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array on stdout.")] = False,
) -> None:
    """List adapters, heads, signals, recipes and backbones, first-party and third-party alike."""
    if kind is not None and kind not in registry.KINDS:
        raise InputError(f"unknown kind {kind!r}: {nearest(kind, registry.KINDS)}")
    rows = [_row(plugin) for one in ([kind] if kind else registry.KINDS) for plugin in registry.plugins(one).values()]
    if as_json:
        print_json(rows)
        return
    body = [[row["kind"], row["name"], row["summary"] or f"broken: {row['error']}", row["package"]] for row in rows]
    print_table("", ["kind", "name", "what it is", "package"], body)
    for row in rows:
        if row["error"]:
            typer.echo(f"warning: {row['error']}", err=True)


def _row(plugin: registry.Plugin) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": plugin.kind, "name": plugin.name, "package": plugin.package}
    try:
        loaded = registry.get(plugin.kind, plugin.name)
        row |= {"summary": str(getattr(loaded, "summary", "")), "error": None}
    except InputError as error:
        row |= {"summary": None, "error": str(error)}
    return row


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list")(list_plugins)
