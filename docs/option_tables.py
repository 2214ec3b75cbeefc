"""Options of plugins and fields of recipes as Markdown tables, from the pydantic schemas."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, get_args

from llmrec_peft import registry
from llmrec_peft.options import describe, describe_deep
from llmrec_peft.recipe import registered_recipe

_LIMITS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}


@functools.cache
def own_plugins(kind: str) -> dict[str, Any]:
    """Return the plugins of a kind that this package registers by name, in the order of the names.

    Plugins of other packages that happen to be installed are left out. A recipe is a `RegisteredRecipe`.
    """
    own = [name for name, plugin in registry.plugins(kind).items() if plugin.package.startswith("llmrec-peft ")]
    return {name: registered_recipe(name) if kind == "recipes" else registry.get(kind, name) for name in own}


def options_of(kind: str, plugin: Any) -> list[str]:
    """Return the table of a plugin's options; nothing for recipes, backbones, and readers that take none."""
    if kind == "readers":
        return option_table(describe_deep(plugin.Config)) if plugin.Config.model_fields else []
    return option_table(describe(plugin.Config)) if hasattr(plugin, "Config") else []


def block_tables(path: str, annotation: Any) -> list[str]:
    """Return the table of a recipe's block, then those of the blocks inside it, each below a heading of its path."""
    block = next((kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields")), None)
    if block is None or not block.model_fields:
        return []
    lines = [*option_table(describe(block)), ""]
    for name, info in block.model_fields.items():
        inner = block_tables(f"{path}.{name}", info.annotation)
        lines += [f"#### {path}.{name}", "", *inner] if inner else []
    return lines


def option_table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the rows of `describe` as a table."""
    if not rows:
        return ["No options."]
    body = [
        f"| `{row['name']}` | {_cell(row['type'])}{_limits(row['limits'])} | {_cell(_default(row))}"
        f" | {_cell(row['description'])} |"
        for row in rows
    ]
    return ["| option | type | default | what it does |", "| --- | --- | --- | --- |", *body]


def _default(row: Mapping[str, Any]) -> str:
    return "required" if row["required"] else f"`{row['default']}`"


def _limits(limits: Mapping[str, float]) -> str:
    said = [spelled.format(f"{limits[name]:,.10g}") for name, spelled in _LIMITS.items() if name in limits]
    return f", {' and '.join(said)}" if said else ""


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|")
