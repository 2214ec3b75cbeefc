"""Source: whether a recipe or a user's own table is to be described, and the recipe that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmrec_peft import registry
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.printable import shown
from llmrec_peft.recipe import Recipe, load_recipe


def recipe_of(
    source: str,
    data: str | None = None,
    items: Path | None = None,
    users: Path | None = None,
    graph: Path | None = None,
    overrides: Sequence[str] = (),
) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe that reads some data, and what was guessed without being sure.

    Args:
        source: Registered recipe, YAML file, or a table of interactions.
        data: Folder of a recipe's data.
        items: Table of items, beside a table of interactions.
        users: Table of users, likewise.
        graph: Table of a knowledge graph, likewise.
        overrides: ``field=value``, laid over the recipe.

    Raises:
        InputError: If it is none of them, or options do not go with it.
    """
    path = Path(source)
    if source in registry.plugins("recipes") or source.endswith((".yaml", ".yml")):
        beside = next((name for name, file in (("items", items), ("users", users), ("graph", graph)) if file), None)
        if beside is not None:
            raise InputError(f"--{beside} goes with a table of interactions, not with the recipe {shown(source)}")
        return load_recipe(source, overrides, {} if data is None else {"data.path": data}), ()
    if path.is_dir():
        raise InputError(f"{shown(path)} is a folder: name the recipe that reads it, llmrec describe RECIPE --data DIR")
    if path.exists() and not path.is_file():
        raise InputError(f"{shown(path)} is a FIFO or a device: name a file")
    if not path.is_file():
        known = nearest(source, registry.plugins("recipes"))
        raise InputError(f"{shown(source)} is no recipe and no file of interactions: {known}")
    if data is not None:
        raise InputError(f"--data goes with a recipe, not with the table {shown(path)}")
    return _guessed(path, items, users, graph, overrides)


def _guessed(
    interactions: Path, items: Path | None, users: Path | None, graph: Path | None, overrides: Sequence[str]
) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe that is proposed for a user's own tables."""
    from llmrec_peft.custom.propose import propose
    from llmrec_peft.recipe.yaml_file import parse_override

    proposal = propose(interactions, items, users, graph)
    changes = dict(parse_override(one) for one in overrides)
    return proposal.recipe.changed(changes), (*proposal.unsure, *proposal.notes)
