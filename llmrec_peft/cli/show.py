"""`llmrec show`: a plugin's documentation and options."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from llmrec_peft import registry
from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import LOOK, Command
from llmrec_peft.cli.output import print_json, print_line, print_table, print_text
from llmrec_peft.options import describe, describe_deep
from llmrec_peft.recipe import load_recipe, registered_recipe

_BROKEN = 80
"""Characters of a source line from which on it was broken because of its length."""


def show(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="adapters, heads, signals, readers, recipes or backbones; the singular works too."
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Registered name (llmrec list).")],
    as_json: parameters.Json = False,
) -> None:
    """Show what a plugin is and which options it takes, with their defaults.

    Examples:
      llmrec show adapter lora
      llmrec show recipe movies --json
    """
    plural = f"{kind}s" if f"{kind}s" in registry.KINDS else kind
    plugin: Any = registered_recipe(name) if plural == "recipes" else registry.get(plural, name)
    answer: dict[str, Any] = {"kind": plural, "name": name, "summary": str(getattr(plugin, "summary", ""))}
    if plural == "recipes":
        answer |= {"reader": plugin.reader, "category": plugin.category, "recipe": load_recipe(name).plain()}
    elif plural == "readers":
        answer |= {"documentation": _documentation(plugin), "download": _download(plugin)}
        if plugin.Config.model_fields:
            answer["options"] = describe_deep(plugin.Config)
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
    """Return where the data comes from, where its owner lets people fetch it."""
    archive = plugin.download
    return None if archive is None else {"url": archive.url, "licence": archive.licence}


def _rejoined(text: str) -> str:
    """Return a docstring with the lines joined that were broken at the source's width, to be broken at the terminal's.

    A line that is short was meant to end there, such as a heading or a formula.
    """
    joined: list[str] = []
    unfinished = False
    for line in text.splitlines():
        if unfinished and line:
            joined[-1] += f" {line}"
        else:
            joined.append(line)
        unfinished = len(line) > _BROKEN
    return "\n".join(joined)


def _print(kind: str, name: str, answer: dict[str, Any]) -> None:
    print_line(answer["summary"])
    if answer.get("documentation"):
        print_line("\n" + _rejoined(answer["documentation"]) + "\n")
        print_line("")
    if kind == "recipes":
        from llmrec_peft.recipe.yaml_file import dump_yaml

        print_text(dump_yaml(answer["recipe"]) + "\n")
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
    app.command("show", cls=Command, rich_help_panel=LOOK)(show)
