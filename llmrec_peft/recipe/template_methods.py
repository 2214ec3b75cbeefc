"""Methods of texts, rows and loops that a text template may call; every one is bounded in time and memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2.runtime import LoopContext

from llmrec_peft.recipe.template_filters import FILTERS, text_filter
from llmrec_peft.recipe.template_values import Rendering

_OF_TEXTS: dict[str, Callable[..., Any]] = {
    **{name: FILTERS[name] for name in ("lower", "upper", "capitalize", "title", "replace")},
    "strip": FILTERS["trim"],
    "lstrip": text_filter(lambda text, chars=None: text.lstrip(chars)),
    "rstrip": text_filter(lambda text, chars=None: text.rstrip(chars)),
    "startswith": text_filter(lambda text, other: text.startswith(other)),
    "endswith": text_filter(lambda text, other: text.endswith(other)),
    "split": text_filter(lambda text, separator=None, most=-1: text.split(separator, most)),
}
_OF_ROWS: dict[str, Callable[..., Any]] = {
    "items": lambda context, row: list(row.items()),
    "keys": lambda context, row: list(row),
    "values": lambda context, row: list(row.values()),
    "get": lambda context, row, name, other=None: row.get(name, other),
}
_OF_LOOPS: dict[str, Callable[..., Any]] = {"cycle": lambda context, loop, *values: loop.cycle(*values)}

METHODS = frozenset((*_OF_TEXTS, *_OF_ROWS, *_OF_LOOPS))
"""Names of all methods of texts, rows and loops that a template may call."""


class Method:
    """A method of a text or of a row, such as ``title.upper``, which a template may call."""

    def __init__(self, name: str, function: Callable[..., Any], owner: Any) -> None:
        self.name, self._function, self._owner = name, function, owner

    def __call__(self, context: Rendering, *arguments: Any, **named: Any) -> Any:
        """Call it; the work is counted as for a filter."""
        return self._function(context, self._owner, *arguments, **named)


def method(owner: Any, name: str) -> Method | None:
    """Return a method that a template may call on a value; None where there is none of that name."""
    kinds = ((str, _OF_TEXTS), (Mapping, _OF_ROWS), (LoopContext, _OF_LOOPS))
    for kind, methods in kinds:
        if isinstance(owner, kind) and name in methods:
            return Method(name, methods[name], owner)
    return None
