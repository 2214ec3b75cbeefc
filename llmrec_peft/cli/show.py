"""`llmrec show`: a plugin's options, with defaults and documentation."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from llmrec_peft import registry
from llmrec_peft.cli.output import print_json, print_table
from llmrec_peft.options import describe
from llmrec_peft.recipe import load_recipe, registered_recipe


def show(
    kind: Annotated[
        str, typer.Argument(help="adapters, heads, signals, readers, recipes or backbones (singular works too).")
    ],
    name: Annotated[str, typer.Argument(help="Registered name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Show what a plugin is and which options it takes."""
    plural = f"{kind}s" if f"{kind}s" in registry.KINDS else kind
    plugin: Any = registered_recipe(name) if plural == "recipes" else registry.get(plural, name)
    answer: dict[str, Any] = {"kind": plural, "name": name, "summary": str(getattr(plugin, "summary", ""))}
    if plural == "recipes":
        answer |= {"reader": plugin.reader, "category": plugin.category, "recipe": load_recipe(name).plain()}
    elif plural == "readers":
        answer |= {"documentation": _documentation(plugin), "download": _download(plugin)}
    elif plural == "backbones":
        answer["backbone"] = dataclasses.asdict(plugin)
    else:
        answer["documentation"] = _documentation(plugin)
        answer["options"] = describe(plugin.Config)
        if plural == "adapters":
            answer["capabilities"] = dataclasses.asdict(plugin.capabilities)
    if as_json:
        print_json(answer)
        return
    _print(plural, name, answer)


def _documentation(plugin: Any) -> str:
    lines = (plugin.__doc__ or "").strip().splitlines()
    return "\n".join(line.strip() for line in lines)


def _download(plugin: Any) -> dict[str, str] | None:
    """Where the data comes from, where its owner lets people fetch it."""
    archive = plugin.download
    return None if archive is None else {"url": archive.url, "licence": archive.licence}


def _print(kind: str, name: str, answer: dict[str, Any]) -> None:
    typer.echo(answer["summary"])
    if answer.get("documentation"):
        typer.echo("\n" + answer["documentation"] + "\n")
    if kind == "recipes":
        from llmrec_peft.recipe.yaml_file import dump_yaml

        typer.echo(dump_yaml(answer["recipe"]))
    for part in ("backbone", "capabilities", "download"):
        if answer.get(part):
            print_table(part, ["field", "value"], [[key, str(value)] for key, value in answer[part].items()])
    if "options" in answer:
        body = [
            [row["name"], row["type"], "required" if row["required"] else repr(row["default"]), row["description"]]
            for row in answer["options"]
        ]
        print_table(f"options of {name}", ["option", "type", "default", "what it does"], body)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("show")(show)
