"""Types of the items table's columns, and how values from elsewhere are brought to them."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from llmrec_peft.printable import quoted

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

Kind = Literal["text", "whole", "number", "single", "flag", "other"]
"""What a column holds: text, whole numbers, numbers of 64 or (single) 32 bits, true or false, or anything else."""
_PLURAL: dict[str, str] = {
    "text": "text",
    "whole": "whole numbers",
    "number": "numbers",
    "single": "numbers",
    "flag": "true or false",
    "other": "values that no text can give",
}
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_FLAGS = {"true": True, "false": False, "1": True, "0": False}
_SEPARATORS = ("|", ";", ",")
"""Marks that may stand between the entries of a list that is written as text, the strongest first. No text is divided
at a semicolon: whether it stands between entries or inside one cannot be seen."""
_PLAIN = frozenset((str, int, float, bool))
"""Types whose values are Python's own; most values are of one of them."""
_NO_LIST = frozenset(("none", "nan", "null", "n/a"))
_BOUNDS = (-(2**63), 2**63 - 1)


@dataclass(frozen=True)
class ColumnType:
    """Type of one column.

    >>> ColumnType("text", many=True).bring("Crime|Drama"), ColumnType("whole").bring("1995.0")
    (['Crime', 'Drama'], 1995)

    Attributes:
        kind: What a value is, or an entry of a list.
        many: Whether each value is a list.
        gaps: Whether some value of the table is missing; then a missing value is None, otherwise it is what has the
            least text: empty text, an empty list, or None where there is no such value.
        inside: Separators that occur inside entries of the table's own lists.
    """

    kind: Kind
    many: bool = False
    gaps: bool = False
    inside: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: pa.ChunkedArray) -> Self:
        """Return the type of an Arrow column."""
        import pyarrow as pa
        import pyarrow.compute as pc

        gaps, stored = values.null_count > 0, values.type
        if not (pa.types.is_list(stored) or pa.types.is_large_list(stored) or pa.types.is_fixed_size_list(stored)):
            return cls(_kind(stored), gaps=gaps)
        kind = _kind(stored.value_type)
        inside: tuple[str, ...] = ()
        if kind == "text" and not pa.types.is_null(stored.value_type):
            entries = pc.list_flatten(values).cast(pa.string())
            inside = tuple(mark for mark in _SEPARATORS if pc.any(pc.match_substring(entries, mark)).as_py())
        return cls(kind, True, gaps, inside)

    @classmethod
    def from_plain(cls, values: Any) -> Self:
        """Return the type that `plain` described.

        Raises:
            ValueError: If it describes none.
        """
        if not isinstance(values, Mapping) or set(values) != {"kind", "many", "gaps", "inside"}:
            raise ValueError("no type of a column")
        inside, flags = values["inside"], (values["many"], values["gaps"])
        if values["kind"] not in get_args(Kind) or not all(isinstance(flag, bool) for flag in flags):
            raise ValueError("no type of a column")
        if not isinstance(inside, list) or not all(mark in _SEPARATORS for mark in inside):
            raise ValueError("no type of a column")
        return cls(values["kind"], *flags, tuple(inside))

    def plain(self) -> dict[str, Any]:
        """Return the type as plain values for JSON."""
        return {**asdict(self), "inside": list(self.inside)}

    def __str__(self) -> str:
        return f"lists of {_PLURAL[self.kind]}" if self.many else _PLURAL[self.kind]

    @property
    def missing(self) -> Any:
        """The value of an item for which the column is empty."""
        if self.gaps or (not self.many and self.kind != "text"):
            return None
        return [] if self.many else ""

    def bring(self, value: Any) -> Any:
        """Return a value as the items table would hold it.

        Args:
            value: From Python (numbers and arrays of numpy and missing values of pandas included), or text from a file.
                A list may be written as JSON, or as entries with ``|`` or a comma between them; a separator that
                occurs inside entries of the table's own lists divides nothing and is refused.

        Raises:
            ValueError: Saying why it cannot be brought to this type.
        """
        value = as_plain(value)
        if is_missing(value) or (isinstance(value, str) and not value.strip() and (self.many or self.kind != "text")):
            return self.missing
        if self.kind == "other":
            if isinstance(value, str | bytes | bool | int | float):
                raise ValueError(f"{quoted(value)} is none of them")
            return value
        if not self.many:
            return self._one(value)
        entries = self._entries(value) if isinstance(value, str) else value
        if not isinstance(entries, list):
            raise ValueError(f"{quoted(value)} is no list")
        if not isinstance(value, str):  # as in the items table, where a list loses its missing entries
            entries = [entry for entry in map(as_plain, entries) if isinstance(entry, str) or not is_missing(entry)]
        return [self._one(as_plain(entry)) for entry in entries]

    def _entries(self, text: str) -> list[Any]:
        """Divide a list that is written as text."""
        text = text.strip()
        if text.startswith("["):
            try:
                read = json.loads(text)
            except (ValueError, RecursionError):
                raise ValueError(f'{quoted(text)} is no JSON list such as ["a", "b"]') from None
            return list(read)
        if text.lower() in _NO_LIST:
            raise ValueError(f"{quoted(text)} is no list: leave it empty where nothing is known")
        mark = next((mark for mark in _SEPARATORS if mark in text), None)
        if mark is None:
            return [text]
        if mark == ";" or mark in self.inside:
            raise ValueError(
                f'{quoted(text)} can be divided in more than one way: write a JSON list such as ["a", "b"]'
            )
        return [entry.strip() for entry in text.split(mark) if entry.strip()]

    def _one(self, value: Any) -> Any:
        """Bring one value, or one entry of a list."""
        if self.kind == "text":
            return _text(value)
        if self.kind == "whole":
            return _whole(value)
        if self.kind == "flag":
            return _flag(value)
        return _number(value, self.kind == "single")


def column_types(items: Dataset) -> dict[str, ColumnType]:
    """Return the type of each column of an items table but its ids."""
    table = items.with_format("arrow")[:]
    return {name: ColumnType.of(table.column(name)) for name in table.column_names if name != "item_id"}


def as_plain(value: Any) -> Any:
    """Return a value of numpy or Arrow as Python's own; tuples and arrays become lists."""
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return list(value)
    for name in ("as_py", "to_pylist", "tolist"):  # Arrow's scalars and arrays, and pandas' series
        made = getattr(value, name, None)
        if callable(made):
            return made()
    return value


def is_missing(value: Any) -> bool:
    """Return whether a plain value stands for none: None, an empty text, NaN, or pandas' NA and NaT."""
    if value is None or (isinstance(value, str) and value == ""):
        return True
    return (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in ("NAType", "NaTType")


def _kind(stored: pa.DataType) -> Kind:
    import pyarrow.types as of

    if of.is_dictionary(stored):
        stored = stored.value_type
    if of.is_string(stored) or of.is_large_string(stored) or of.is_string_view(stored) or of.is_null(stored):
        return "text"
    if of.is_integer(stored):
        return "whole"
    if of.is_boolean(stored):
        return "flag"
    if of.is_floating(stored):
        return "number" if of.is_float64(stored) else "single" if of.is_float32(stored) else "other"
    return "other"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{quoted(value)} is no text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{quoted(value)} is no UTF-8 text") from None
    return str(value)


def _whole(value: Any) -> int:
    number: int | None = None
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        number = int(value.strip().partition(".")[0])
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer() and abs(value) < 2**53:  # beyond it floats skip numbers
        number = int(value)
    if number is None or not _BOUNDS[0] <= number <= _BOUNDS[1]:
        raise ValueError(f"{quoted(value)} is no whole number")
    return number


def _number(value: Any, single: bool) -> float:
    number = math.nan
    try:
        given = isinstance(value, int | float) and not isinstance(value, bool)
        if given or (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
            number = float(value)
        if single and math.isfinite(number):  # rounds to 32 bits, or raises if they do not hold it
            number = float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{quoted(value)} is no finite number")
    return number


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    found = _FLAGS.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None and isinstance(value, int | float) and value in (0, 1):
        found = bool(value)
    if found is None:
        raise ValueError(f"{quoted(value)} is neither true nor false")
    return found
