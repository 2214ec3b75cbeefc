"""Write docs/reference.md: every registered plugin with its options, from the pydantic schemas."""

from __future__ import annotations

from pathlib import Path

from option_tables import block_tables, options_of, own_plugins

from llmrec_peft import registry
from llmrec_peft.recipe import Recipe


def main() -> None:
    """Write the page."""
    lines = ["# Plugins and their options", "", "Written by `make docs` from the code; do not edit.", ""]
    for kind, title in registry.KINDS.items():
        lines += [f"## {title.capitalize()}: {kind}", ""]
        for name, plugin in own_plugins(kind).items():
            lines += [f"### {name}", "", str(plugin.summary), ""]
            if kind == "recipes":
                lines += [f"A {plugin.category}; it reads `{plugin.reader}`.", ""]
            if table := options_of(kind, plugin):
                lines += [*table, ""]
    lines += ["## Fields of a recipe", ""]
    for field, info in Recipe.model_fields.items():
        lines += [f"### {field}", "", " ".join((info.description or "").split()), ""]
        if field not in ("adapter", "head", "signals"):
            lines += block_tables(field, info.annotation)
    (Path(__file__).parent / "reference.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
