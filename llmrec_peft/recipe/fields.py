"""Fields of a recipe by their dotted names, and which one was probably meant by a name that is none."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel

from llmrec_peft import registry
from llmrec_peft.errors import InputError

_PLUGINS = {"adapter": ("adapters", "method"), "head": ("heads", "name")}
"""Blocks whose options belong to the plugin that one of their fields names: its kind, and that field."""
_MOST = 4
"""Fields that a hint names."""
_LIKE = 0.75
"""How alike two names are, from 0 to 1, before one is offered for the other in another block."""


def field_names(recipe: type[BaseModel], values: Any) -> list[str]:
    """Return the dotted name of every field that a recipe with these plugins can have, such as ``training.epochs``.

    Args:
        recipe: The class `Recipe`.
        values: The recipe's plain values, valid or not; they say which adapter, head and signals are chosen.
    """
    found = [name for name in _of_block(recipe) if name.split(".")[0] not in (*_PLUGINS, "signals", "heads")]
    blocks = values if isinstance(values, dict) else {}
    for block, (kind, key) in _PLUGINS.items():
        chosen = blocks.get(block)
        found.append(f"{block}.{key}")
        if isinstance(chosen, dict):
            found += [f"{block}.{name}" for name in _of_plugin(kind, chosen.get(key))]
    signals = blocks.get("signals")
    for name in signals if isinstance(signals, dict) else ():
        found += [f"signals.{name}", *(f"signals.{name}.{field}" for field in _of_plugin("signals", name))]
    return _without_namesakes(found)


def _without_namesakes(names: list[str]) -> list[str]:
    """Leave out fields of `update` that are called like one of another block, which a training means."""
    leaves = {name.rpartition(".")[2] for name in names if not name.startswith("update.")}
    return [name for name in names if not name.startswith("update.") or name.rpartition(".")[2] not in leaves]


def options_of_others(block: str) -> set[str]:
    """Return the dotted fields of ``adapter``, ``head`` or ``signals`` with any plugin; none of another block."""
    if block == "signals":
        names = registry.plugins("signals")
        return {f"signals.{name}.{field}" for name in names for field in _of_plugin("signals", name)}
    if block not in _PLUGINS:
        return set()
    kind, _ = _PLUGINS[block]
    return {f"{block}.{field}" for name in registry.plugins(kind) for field in _of_plugin(kind, name)}


def meant(field: str, known: Sequence[str]) -> list[str]:
    """Return the fields that were probably meant by a dotted name that is none, the likeliest first; at most four.

    A field of the same last name in another block comes first; else fields whose last name is nearly the same.

    >>> known = ["seed", "training.epochs", "training.adapter.learning_rate", "training.head.learning_rate"]
    >>> meant("epochs", known), meant("epoch", known), meant("training.learning_rate", known)
    (['training.epochs'], ['training.epochs'], ['training.adapter.learning_rate', 'training.head.learning_rate'])
    """
    last = field.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == last]
    if same:
        return same[:_MOST]
    leaves = list(dict.fromkeys(name.rpartition(".")[2] for name in known))
    close = difflib.get_close_matches(last, leaves, n=1, cutoff=_LIKE)
    return [name for name in known if close and name.rpartition(".")[2] == close[0]][:_MOST]


def _of_block(block: type[BaseModel], before: str = "") -> list[str]:
    """Return the fields of a block and of the blocks in it."""
    found = []
    for name, field in block.model_fields.items():
        inner = next((one for one in (field.annotation, *get_args(field.annotation)) if _is_block(one)), None)
        found += [f"{before}{name}"] if inner is None else _of_block(inner, f"{before}{name}.")
    return found


def _is_block(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _of_plugin(kind: str, name: Any) -> list[str]:
    """Return the options of a plugin; none of one that is not there or cannot be imported."""
    try:
        return _of_block(registry.get(kind, name).Config) if isinstance(name, str) else []
    except InputError:
        return []
