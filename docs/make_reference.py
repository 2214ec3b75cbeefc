"""Write docs/reference.md: every registered plugin with its options, from the pydantic schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from llmrec_peft import registry
from llmrec_peft.options import describe, describe_deep
from llmrec_peft.recipe import Recipe, registered_recipe


def main() -> None:
    """Write the page."""
    lines = ["# Plugins and their options", "", "Written by `make docs` from the code; do not edit.", ""]
    for kind, title in registry.KINDS.items():
        lines += [f"## {title.capitalize()}: {kind}", ""]
        for name in registry.plugins(kind):
            plugin = registered_recipe(name) if kind == "recipes" else registry.get(kind, name)
            lines += [f"### {name}", "", str(plugin.summary), ""]
            if kind == "recipes":
                lines += [f"A {plugin.category}; it reads `{plugin.reader}`.", ""]
            if kind == "readers":
                lines += [*_table(describe_deep(plugin.Config)), ""] if plugin.Config.model_fields else []
            elif hasattr(plugin, "Config"):
                lines += [*_table(describe(plugin.Config)), ""]
    lines += ["## Fields of a recipe", ""]
    for field, info in Recipe.model_fields.items():
        lines += [f"### {field}", "", " ".join((info.description or "").split()), ""]
        if field not in ("adapter", "head", "signals"):
            lines += _block(field, info.annotation)
    (Path(__file__).parent / "reference.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _block(path: str, annotation: Any) -> list[str]:
    """The table of an option block, then those of the blocks inside it."""
    block = next((kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields")), None)
    if block is None or not block.model_fields:
        return []
    lines = [*_table(describe(block)), ""]
    for name, info in block.model_fields.items():
        inner = _block(f"{path}.{name}", info.annotation)
        lines += [f"#### {path}.{name}", "", *inner] if inner else []
    return lines


def _table(rows: list[dict[str, object]]) -> list[str]:
    if not rows:
        return ["No options."]
    body = [
        f"| `{row['name']}` | {_cell(row['type'])} | {_cell(_default(row))} | {_cell(row['description'])} |"
        for row in rows
    ]
    return ["| option | type | default | what it does |", "| --- | --- | --- | --- |", *body]


def _default(row: dict[str, object]) -> str:
    return "required" if row["required"] else f"`{row['default']}`"


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|")


if __name__ == "__main__":
    main()
