"""Search space: which fields of a recipe `llmrec tune` varies, and between which values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from llmrec_peft.errors import InputError
from llmrec_peft.options import Options, validated
from llmrec_peft.printable import quoted
from llmrec_peft.recipe.fields import field_names, meant, options_of_others

_TUNED = ("adapter", "fusion", "head", "signals", "training", "views")
"""Sections whose fields can be searched; the others decide what the figures are about."""
_FIXED = frozenset(
    (
        *("head.name", "head.threshold", "training.validate_on", "training.refit", "training.choice"),
        *("training.checkpoint_seconds", "training.trackers", "training.trunk_mb"),
    )
)
"""Fields of those sections that change the figure of validation itself, or that the search does not use."""


class SearchedField(Options):
    """Values of one field: a range, or a list of choices."""

    low: int | float | None = None
    """Smallest value of a range."""
    high: int | float | None = None
    """Largest value of a range, which is searched too. Fields that count take whole numbers only."""
    log: bool = False
    """Whether a range is searched by the logarithm, as learning rates are."""
    choices: tuple[Any, ...] = Field(default=(), max_length=100)
    """Values to choose from, in place of a range."""

    @model_validator(mode="after")
    def _one_kind(self) -> SearchedField:
        if (self.low is None) != (self.high is None):
            raise ValueError("a range has low and high")
        if (self.low is None) == (not self.choices):
            raise ValueError("give either low and high, or choices")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and (self.low is None or self.low <= 0):
            raise ValueError("log needs a range above 0")
        if self.choices and any(value in self.choices[:at] for at, value in enumerate(self.choices)):
            raise ValueError("each choice once")
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what the other kind of values has."""
        unused = ("low", "high", "log") if self.choices else ("choices",)
        return {name: value for name, value in plain(self).items() if name not in unused}

    def spans(self, value: Any) -> bool:
        """Return whether a value is a number in the range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low is not None and self.high is not None and self.low <= value <= self.high

    def __str__(self) -> str:
        """Return the values as they are written in messages."""
        return f"{self.low} to {self.high}" if self.low is not None else ", ".join(map(str, self.choices))


def _by_field(values: Any) -> Any:
    """Validate the values of each field, and return nested blocks as dotted fields.

    So ``--set tune.training.epochs.high=9`` changes what the file says of ``training.epochs``.

    Raises:
        InputError: With the field, and what would be right.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"tune: expected a mapping of dotted fields to values, got {quoted(values, 60)}")
    found: dict[str, Any] = {}

    def walk(block: Mapping[Any, Any], before: str) -> None:
        for name, value in block.items():
            path = f"{before}{name}"
            if isinstance(value, Mapping) and value and not SearchedField.model_fields.keys() & value.keys():
                walk(value, f"{path}.")
            elif isinstance(value, Mapping) and isinstance(found.get(path), dict):
                found[path] = {**found[path], **value}
            else:
                found[path] = value

    walk(values, "")
    return {
        field: block if isinstance(block, SearchedField) else validated(SearchedField, block, f"tune.{field}")
        for field, block in found.items()
    }


SearchSpace = Annotated[dict[str, SearchedField], BeforeValidator(_by_field)]
"""Dotted fields of a recipe and their values."""


def fields_in_use(space: Mapping[str, SearchedField], recipe: type[BaseModel], values: Any) -> list[str]:
    """Return the searched fields that a recipe has as it stands: its adapter and head have them, their signal is on.

    So the same space serves a recipe whose adapter was changed or a signal of which was switched off.

    Args:
        space: The search space.
        recipe: The class `Recipe`.
        values: The recipe's plain values; they say which plugins are chosen.

    Raises:
        InputError: Naming a field that no such recipe has, or that is not searched, and the one that was meant.
    """
    known = [name for name in field_names(recipe, values) if _is_searched(name)] if space else []
    signals = values.get("signals") if isinstance(values, Mapping) else None
    off = [name for name, block in signals.items() if block is False] if isinstance(signals, Mapping) else []
    found = []
    for field in space:
        block, _, rest = field.partition(".")
        if field in known:
            if block != "signals" or rest.partition(".")[0] not in off or rest in off:
                found.append(field)
        elif field in _FIXED or block in recipe.model_fields.keys() - set(_TUNED):
            raise InputError(
                f"tune.{field}: this field is not searched, because figures of validation could not be compared"
                f" any more; fields of {', '.join(_TUNED)} are"
            )
        elif field not in options_of_others(block):
            likely = meant(field, known)
            hint = f"did you mean {' or '.join(map(repr, likely))}?" if likely else "llmrec show lists plugins' options"
            raise InputError(f"tune: unknown field {quoted(field, 60)}: {hint}")
    return found


def _is_searched(field: str) -> bool:
    return field.partition(".")[0] in _TUNED and field not in _FIXED
