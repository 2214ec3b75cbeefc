"""Checked space: whether a recipe is valid with every value that its search space names, and holds its own values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.search_space import fields_in_use


def require_space(recipe: Recipe) -> dict[str, Any]:
    """Try all choices and both ends of each range of a recipe's search space in the recipe.

    Returns:
        The recipe's own value of each field that is in use, as the space writes it.

    Raises:
        InputError: If no field of a space is in use, it does not hold the recipe's own values, or a value is not valid.
    """
    if not recipe.tune:
        raise InputError(
            "tune: the recipe has no search space: name the fields to vary, such as"
            " --set 'tune={training.adapter.learning_rate: {low: 0.0001, high: 0.01, log: true}}'"
        )
    plain, bare = recipe.plain(), recipe.changed({"tune": {}})
    found: dict[str, Any] = {}
    fields = fields_in_use(recipe.tune, Recipe, plain)
    if not fields:
        raise InputError(
            f"tune: {', '.join(recipe.tune)}: the recipe's adapter, head and signals, as they are here, have none of"
            " these fields, so there is nothing to vary"
        )
    for field in fields:
        searched = recipe.tune[field]
        tried = [(value, _with(bare, field, value)) for value in searched.choices or (searched.low, searched.high)]
        own = _value_at(plain, field)
        if searched.choices:
            same = [value for value, changed in tried if changed == bare]
        else:
            same = [own] if searched.spans(own) else []
        if not same:
            raise InputError(
                f"tune.{field}: the recipe's own value {quoted(own, 40)} is not among {quoted(str(searched), 80)}:"
                " it is tried first, so the search space has to hold it"
            )
        found[field] = same[0]
    return found


def _with(bare: Recipe, field: str, value: Any) -> Recipe:
    try:
        return bare.changed({field: value})
    except InputError as error:
        raise InputError(f"tune.{field}: {quoted(value, 40)} is refused: {error}") from None


def _value_at(plain: Mapping[str, Any], field: str) -> Any:
    """Return the value of a dotted field in plain values; None where a block on the way is off."""
    value: Any = plain
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
