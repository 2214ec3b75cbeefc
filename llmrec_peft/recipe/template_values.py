"""Values in text templates: what a template may print, how missing ones are shown, and the work a text may take."""

from __future__ import annotations

import datetime
import decimal
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.utils import missing

from llmrec_peft.printable import quoted

LONGEST_TEXT = 1_000_000
"""Characters of one rendered text; no model of ours reads a tenth of it."""
WORK = 1_000_000
"""What one text may take: a character built or read and an entry of a list count 1, a turn of a loop `STEP`."""
STEP = 20
"""Work of one turn of a loop, beside the text that stands inside the loop: some 50,000 turns for one text at most."""
LARGEST_NUMBER = 10**18
"""Numbers beyond it are no years, counts or prices."""

_NUMBERS = (int, float, numbers.Number, decimal.Decimal)
_MOMENTS = (datetime.date, datetime.time, datetime.timedelta)
_LISTS = (list, tuple, range)
_CONTAINERS = (str, Mapping, *_LISTS)
_FULL = (int, *_CONTAINERS, Undefined)
_FEW_PIECES = 32


class Rendering(Context):
    """The variables of one text, and the work that is left for it."""

    left = WORK

    def resolve_or_missing(self, key: str) -> Any:
        """Return a variable, as Jinja does, in one look-up where the template sets none."""
        if self.vars and key in self.vars:
            return self.vars[key]
        return self.parent.get(key, missing)

    def spend(self, amount: int) -> None:
        """Count work.

        Raises:
            SecurityError: If the text has taken too much.
        """
        self.left -= amount
        if self.left < 0:
            raise SecurityError("it builds too long a text, or loops too often")


def is_missing(value: Any) -> bool:
    """Return whether a value stands for an empty cell: None, NaN, NaT."""
    if value is None:
        return True
    if isinstance(value, _FULL) or _is_array(value):
        return False
    return bool(value != value)  # noqa: PLR0124 - only NaN and its like differ from themselves


def is_number(value: Any) -> bool:
    """Return whether a value can be computed with."""
    return isinstance(value, _NUMBERS) or _of_numpy(value, "bool", "bool_")


def as_text(context: Rendering, value: Any) -> str:
    """Return what a template prints for a value; nothing for a missing one.

    Raises:
        SecurityError: If it is very long, or nothing that a table holds.
    """
    if isinstance(value, str):
        return value
    if is_missing(value):
        return ""
    if isinstance(value, Undefined):
        return str(value)  # a strict one raises, and names the column
    if isinstance(value, (float, *_MOMENTS)) or _of_numpy(value, "datetime64"):
        return str(value)
    if is_number(value):
        if abs(float(value)) > 10 * LARGEST_NUMBER:
            raise SecurityError("a number has too many digits")
        return str(value)
    if _is_array(value):
        value = value.tolist()
    context.spend(weight(value, context.left + 1))
    return str(_without_missing(value))


def weight(value: Any, limit: int) -> int:
    """Return the characters and entries of a value, at most a little more than `limit`."""
    total, todo = 0, [value]
    while todo and total <= limit:
        one = todo.pop()
        if isinstance(one, str):
            total += len(one)
        elif isinstance(one, Mapping):
            total += len(one)
            todo += islice(one.keys(), limit)
            todo += islice(one.values(), limit)
        elif isinstance(one, _LISTS):
            total += len(one)
            todo += islice(one, limit)
        elif one is None or isinstance(one, _MOMENTS) or is_number(one):
            total += 8
        elif _is_array(one):
            todo.append(one.tolist())
        elif isinstance(one, Undefined):
            str(one)
        else:
            raise SecurityError(f"{type(one).__name__} is nothing that a template can print")
    return total


def entries(context: Rendering, value: Any) -> list[Any]:
    """Return a value as a list that is only read, and count the work of going through it; a missing one has no entries.

    Raises:
        TypeError: If it is no list.
    """
    if type(value) is list:
        context.spend(len(value))
        return value
    if isinstance(value, Undefined):
        iter(value)  # a strict one raises, and names the column
        return []
    if is_missing(value):
        return []
    if _is_array(value):
        value = value.tolist()
    if not isinstance(value, _CONTAINERS):
        raise TypeError(f"{_shown(value)} is no list")
    context.spend(len(value))
    return list(value)


def joined(parts: Iterable[str], most: int = LONGEST_TEXT) -> str:
    """Join the pieces of a text.

    Raises:
        SecurityError: If they have more than `most` characters.
    """
    rest: Iterator[str] = iter(parts)
    kept = [*islice(rest, _FEW_PIECES)]
    text = "".join(kept)
    while len(kept) == _FEW_PIECES and len(text) <= most:
        kept = [*islice(rest, _FEW_PIECES)]
        text += "".join(kept)
    if len(text) > most:
        raise SecurityError(f"the text has more than {most:,} characters")
    return text


def computable(value: Any) -> Any:
    """Return a number that may be computed with.

    Raises:
        SecurityError: For one with too many digits.
        TypeError: For what is no number.
    """
    if not is_number(value):
        raise TypeError(f"{_shown(value)} is no number")
    if isinstance(value, float) and not math.isfinite(value):
        return value
    if abs(float(value)) > LARGEST_NUMBER:
        raise SecurityError("a number has too many digits")
    return value


def _without_missing(value: Any) -> Any:
    """Return a list without its empty entries, so that the word None is printed nowhere."""
    if isinstance(value, Mapping):
        return {key: _without_missing(one) for key, one in value.items() if not is_missing(one)}
    if isinstance(value, list | tuple):
        kept = [_without_missing(one) for one in value if not is_missing(one)]
        return kept if isinstance(value, list) else tuple(kept)
    return value


def _is_array(value: Any) -> bool:
    return _of_numpy(value, "ndarray")


def _of_numpy(value: Any, *names: str) -> bool:
    """Return whether a value is of one of these types of numpy, which a recipe alone does not import."""
    return type(value).__module__ == "numpy" and type(value).__name__ in names


def _shown(value: Any) -> str:
    """Return a value for a message; of what may have a form of its own, only its type."""
    known = value is None or isinstance(value, (str, *_NUMBERS))
    return quoted(value, 40) if known else type(value).__name__
