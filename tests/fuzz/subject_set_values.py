"""Hostile ``--set FIELD=VALUE``: odd fields, odd YAML, and odd values of every field that a recipe has."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fuzz.harness import Attempt
from fuzz.subject_recipes import _TOKENS, odd_text, odd_value
from llmrec_peft import registry
from llmrec_peft.recipe import Recipe, load_recipe


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Yield one to three overrides of a shipped recipe."""
    names = list(registry.plugins("recipes"))
    fields = {name: _fields(load_recipe(name).plain()) for name in names}
    while True:
        name = rng.choice(names)
        overrides = [_override(rng, fields[name]) for _ in range(rng.randint(1, 3))]
        yield Attempt(f"{name} {[one[:120] for one in overrides]!r}", partial(_load, name, overrides))


def _load(name: str, overrides: list[str]) -> None:
    recipe = load_recipe(name, overrides)
    assert Recipe.from_plain(recipe.plain()) == recipe, "a recipe in plain values is another"


def _fields(values: Any, before: str = "") -> list[str]:
    if not isinstance(values, dict):
        return [before.removesuffix(".")]
    return [
        field for name, value in values.items() for field in (f"{before}{name}", *_fields(value, f"{before}{name}."))
    ]


def _override(rng: random.Random, fields: list[str]) -> str:
    field, way = rng.choice(fields), rng.random()
    if way < 0.1:
        field += f".{odd_text(rng)}"
    elif way < 0.15:
        field = ".".join(odd_text(rng) for _ in range(rng.choice((1, 2, 3, 40))))
    elif way < 0.2:
        field = field[: rng.randrange(len(field) + 1)]
    elif way < 0.25:
        field = rng.choice((f" {field} ", f"{field}.0", f".{field}", f"{field}.", field.upper()))
    kind = rng.random()
    if kind < 0.35:
        value = rng.choice(_TOKENS)
    elif kind < 0.6:
        value = odd_text(rng)
    elif kind < 0.8:
        value = json.dumps(odd_value(rng), ensure_ascii=rng.random() < 0.5)
    elif kind < 0.9:
        value = "{" + ", ".join(f"{odd_text(rng)}: {odd_text(rng)}" for _ in range(rng.randint(1, 3))) + "}"
    else:
        value = rng.randbytes(rng.randrange(20)).decode("latin-1")
    return field + rng.choice(("=", "=", "=", "=", "= ", "", "==")) + value
