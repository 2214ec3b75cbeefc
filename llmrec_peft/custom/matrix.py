"""Matrix: a table with a row for each user and a column for each item is refused; a row is one interaction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmrec_peft.custom.texts import as_texts
from llmrec_peft.custom.words import strength
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

if TYPE_CHECKING:
    import pyarrow as pa

_LEAST_CODES = 10
_MOST_LEVELS = 128
"""Distinct numbers of all cells together at most."""
_ROWS = 1000
"""Rows that are looked at."""
_CODE = re.compile(r"(?=\D*\d)[\w.:-]{1,40}")


def require_no_matrix(table: pa.Table, called: str, headed: bool = True) -> None:
    """Refuse interactions that are a matrix of users and items.

    A matrix has ten columns or more whose names are ids, below them few distinct numbers or nothing, and a first column
    in which no value repeats.

    Args:
        table: The interactions.
        called: What the message calls them.
        headed: Whether its columns have names of their own; without, the first row is looked at as their names.

    Raises:
        InputError: Saying which form is read.
    """
    names = table.column_names if headed else [str(column[0].as_py() or "").strip() for column in table.slice(0, 1)]
    first, codes = "".join(names[:1]), names[1:]
    first = "" if first == "column_1" else first  # a column without a name
    if len(codes) < _LEAST_CODES or len(set(codes)) < len(codes) or not all(map(_CODE.fullmatch, codes)):
        return
    said = not first or any(strength(first, kind) for kind in ("user", "item", "id"))
    below = table.slice(0 if headed else 1, _ROWS)
    if not (said or headed) or _CODE.fullmatch(first) or len(below) == 0 or not _is_matrix(below):
        return
    ids = "item" if strength(first, "item") else "user"
    other = "user" if ids == "item" else "item"
    raise InputError(
        f"{called}: a row for each {ids} and a column for each of {len(codes)} {other}s, such as {quoted(codes[0], 40)}"
        ": write one row for each interaction, with the columns user, item and rating (pandas: DataFrame.melt)"
    )


def _is_matrix(rows: pa.Table) -> bool:
    """Return whether the first column has no value twice, and all others together few distinct numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if pc.count_distinct(as_texts(rows.column(0))).as_py() < len(rows):
            return False
        return _few(rows.columns[1:])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, InputError):
        return False  # texts, or a type that Arrow casts to no number (NotImplemented: lists, structs): no matrix


def _few(columns: Sequence[pa.ChunkedArray]) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    levels: set[float] = set()
    for column in columns:
        levels.update(pc.unique(as_texts(column).drop_null().cast(pa.float64())).to_pylist())
        if len(levels) > _MOST_LEVELS:
            return False
    return bool(levels)
