"""Filters and tests that a text template may use; every one is bounded in time and memory."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Undefined, pass_context
from jinja2.exceptions import SecurityError

from llmrec_peft.recipe.template_values import (
    LONGEST_TEXT,
    Rendering,
    as_text,
    computable,
    entries,
    is_missing,
    is_number,
    joined,
)

_MOST_DIGITS = 12
_WORD = re.compile(r"([-\s({\[<]+)")
"""What stands before a word, as in Jinja's `title`."""


def text_filter(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a filter of a function of a text; a missing value stays missing."""

    @pass_context
    def apply(context: Rendering, value: Any, *arguments: Any, **named: Any) -> Any:
        if is_missing(value):
            return None
        text = as_text(context, value)
        given = (*arguments, *named.values())
        context.spend(len(text) + sum(len(one) for one in given if isinstance(one, str)))
        return function(text, *arguments, **named)

    return apply


def _list_filter(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a filter of a function of a list."""

    @pass_context
    def apply(context: Rendering, value: Any, *arguments: Any, **named: Any) -> Any:
        return function(context, entries(context, value), *arguments, **named)

    return apply


def _number_filter(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a filter of a function of a number; a missing value stays missing."""

    @pass_context
    def apply(context: Rendering, value: Any, *arguments: Any, **named: Any) -> Any:
        if is_missing(value) or isinstance(value, Undefined):
            return None if not isinstance(value, Undefined) else as_text(context, value)
        if isinstance(value, str):
            context.spend(len(value))
        return function(value, *arguments, **named)

    return apply


def _replace(text: str, old: str, new: str, count: int | None = None) -> str:
    found = text.count(old) if count is None else min(count, text.count(old))
    if len(text) + found * len(new) > LONGEST_TEXT:
        raise SecurityError("replace makes the text too long")
    return text.replace(old, new, -1 if count is None else count)


def _truncate(text: str, length: int = 255, killwords: bool = False, end: str = "...", leeway: int = 5) -> str:
    if len(text) <= length + leeway:
        return text
    cut = text[: max(0, length - len(end))]
    return (cut if killwords else cut.rsplit(" ", 1)[0]) + end


def _title(text: str) -> str:
    return "".join(word[:1].upper() + word[1:].lower() for word in _WORD.split(text))


def _round(value: Any, precision: int = 0, method: str = "common") -> Any:
    if not isinstance(precision, int) or abs(precision) > _MOST_DIGITS:
        raise SecurityError(f"round takes a precision of at most {_MOST_DIGITS} digits")
    ways: dict[str, Callable[[float], Any]] = {"ceil": math.ceil, "floor": math.floor}
    number = computable(value)
    if method == "common":
        return round(number, precision)
    if method not in ways:
        raise ValueError("round knows the methods common, ceil and floor")
    return ways[method](number * 10**precision) / 10**precision


def _int(value: Any, default: int = 0) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        try:
            number = int(float(value))
        except (TypeError, ValueError, OverflowError):
            return default
    return int(computable(number))


def _float(value: Any, default: float = 0.0) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return default


@pass_context
def join(context: Rendering, value: Any, separator: str = "", attribute: str | None = None) -> str:
    """Join the entries of a list that are not missing."""
    if type(value) is list and type(separator) is str and attribute is None:
        try:
            context.spend(sum(map(len, value)) + (1 + len(separator)) * len(value))
            return separator.join(value)
        except TypeError:
            pass  # not all of them are texts
    texts = []
    for one in entries(context, value):
        chosen = one if attribute is None else _attribute(one, attribute)
        if type(chosen) is str:
            texts.append(chosen)
        elif not is_missing(chosen):
            texts.append(as_text(context, chosen))
    between = as_text(context, separator)
    context.spend(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


@pass_context
def concat(context: Rendering, parts: list[Any]) -> str:
    """Join what stands between ``~``."""
    text = joined([as_text(context, part) for part in parts])
    context.spend(len(text))
    return text


@pass_context
def _default(context: Rendering, value: Any, other: Any = "", boolean: bool = False) -> Any:
    """Return the other value where the column is unknown or its cell is empty."""
    return other if isinstance(value, Undefined) or is_missing(value) or (boolean and not value) else value


@pass_context
def _length(context: Rendering, value: Any) -> int:
    return 0 if is_missing(value) else len(value)


def _map(context: Rendering, values: list[Any], name: str | None = None, *arguments: Any, **named: Any) -> list[Any]:
    if "attribute" in named:
        default = named.get("default")
        found = (_attribute(one, named["attribute"]) for one in values)
        return [default if isinstance(one, Undefined) else one for one in found]
    if name not in FILTERS or name == "map":
        raise SecurityError(f"map does not know the filter {str(name)[:40]!r}")
    return [FILTERS[name](context, one, *arguments, **named) for one in values]


def _selecting(wanted: bool, by_attribute: bool) -> Callable[..., list[Any]]:
    def select(context: Rendering, values: list[Any], *arguments: Any) -> list[Any]:
        attribute = None
        if by_attribute:
            attribute, *rest = arguments
        else:
            rest = list(arguments)
        test = _chosen_test(rest)
        tested = values if attribute is None else [_attribute(one, attribute) for one in values]
        return [one for one, value in zip(values, tested, strict=True) if bool(test(value)) is wanted]

    return select


def _chosen_test(arguments: list[Any]) -> Callable[[Any], Any]:
    """Return a test by its name and arguments: ``selectattr("rating", ">=", 4)``."""
    if not arguments:
        return bool
    name, *rest = arguments
    if name in _COMPARISONS and len(rest) == 1:
        return lambda value: not isinstance(value, Undefined) and _COMPARISONS[name](value, rest[0])
    if name in TESTS:
        return lambda value: TESTS[name](value, *rest)
    raise SecurityError(f"no test is called {str(name)[:40]!r}")


def _attribute(one: Any, name: Any) -> Any:
    """Return a column of a row by its name, dotted for rows inside rows."""
    for part in str(name).split("."):
        one = one.get(part, Undefined(name=part)) if isinstance(one, Mapping) else Undefined(name=part)
    return one


def _sort(
    context: Rendering, values: list[Any], reverse: bool = False, case_sensitive: bool = False, attribute: Any = None
) -> list[Any]:
    def key(one: Any) -> Any:
        value = one if attribute is None else _attribute(one, attribute)
        return value if case_sensitive else _folded(value)

    return sorted(values, key=key, reverse=bool(reverse))


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a filter of a list of a function that takes nothing else."""
    return _list_filter(lambda context, values: function(values))


_TEXT: dict[str, Callable[..., Any]] = {
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "capitalize": lambda text: text.capitalize(),
    "title": _title,
    "trim": lambda text, chars=None: text.strip(chars),
    "replace": _replace,
    "truncate": _truncate,
    "wordcount": lambda text: len(text.split()),
    "string": lambda text: text,
}
FILTERS: dict[str, Callable[..., Any]] = {
    **{name: text_filter(function) for name, function in _TEXT.items()},
    "round": _number_filter(_round),
    "int": _number_filter(_int),
    "float": _number_filter(_float),
    "abs": _number_filter(lambda value: abs(computable(value))),
    "join": join,
    "default": _default,
    "d": _default,
    "length": _length,
    "count": _length,
    "first": _plain(lambda values: values[0] if values else None),
    "last": _plain(lambda values: values[-1] if values else None),
    "list": _plain(list),
    "reverse": _plain(lambda values: values[::-1]),
    "unique": _plain(lambda values: list({_folded(value): value for value in reversed(values)}.values())[::-1]),
    "min": _plain(lambda values: min(values, default=None)),
    "max": _plain(lambda values: max(values, default=None)),
    "sum": _plain(lambda values: sum(computable(value) for value in values)),
    "sort": _list_filter(_sort),
    "map": _list_filter(_map),
    "select": _list_filter(_selecting(True, False)),
    "reject": _list_filter(_selecting(False, False)),
    "selectattr": _list_filter(_selecting(True, True)),
    "rejectattr": _list_filter(_selecting(False, True)),
}
"""Filters of templates by name."""

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("==", "eq", "equalto"), operator.eq),
    **dict.fromkeys(("!=", "ne"), operator.ne),
    **dict.fromkeys((">", "gt", "greaterthan"), operator.gt),
    **dict.fromkeys(("<", "lt", "lessthan"), operator.lt),
    **dict.fromkeys((">=", "ge"), operator.ge),
    **dict.fromkeys(("<=", "le"), operator.le),
    "in": lambda value, others: value in others,
}
TESTS: dict[str, Callable[..., bool]] = {
    "defined": lambda value: not isinstance(value, Undefined),
    "undefined": lambda value: isinstance(value, Undefined),
    "none": lambda value: not isinstance(value, Undefined) and is_missing(value),
    "string": lambda value: isinstance(value, str),
    "number": is_number,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, float),
    "boolean": lambda value: isinstance(value, bool),
    "true": lambda value: value is True,
    "false": lambda value: value is False,
    "mapping": lambda value: isinstance(value, Mapping),
    "sequence": lambda value: isinstance(value, str | list | tuple),
    "iterable": lambda value: isinstance(value, str | list | tuple | Mapping),
    "even": lambda value: computable(value) % 2 == 0,
    "odd": lambda value: computable(value) % 2 == 1,
    "divisibleby": lambda value, other: computable(value) % computable(other) == 0,
}
"""Tests of templates by name, as in ``{% if year is defined %}``."""
