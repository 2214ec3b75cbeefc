"""Cells: columns that the recipe names, as ids, texts and numbers; what is none of these is named by row and column."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_peft.custom.facts import as_texts
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

if TYPE_CHECKING:
    import pyarrow as pa


def taken(table: pa.Table, name: str, called: str, field: str) -> pa.ChunkedArray:
    """Return a column that the recipe names.

    Raises:
        InputError: If the table lacks it, naming the recipe's field.
    """
    at = table.schema.get_all_field_indices(name)
    if len(at) != 1:
        problem = "no column" if not at else "two columns"
        there = ", ".join(quoted(one, 40) for one in table.column_names[:12])
        raise InputError(f"{field}: {called} has {problem} {quoted(name, 60)}; it has {there}")
    return table.column(at[0])


def numbers(values: pa.ChunkedArray, called: str, name: str) -> pa.ChunkedArray:
    """Return a column as numbers, float64 [n]; empty cells and marks of missing values are none.

    Raises:
        InputError: Naming the first row whose value is no finite number.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        found = values.cast(pa.float64(), safe=False)
        found = pc.if_else(pc.is_nan(found), pa.scalar(None, pa.float64()), found)
    else:
        texts = as_texts(values)
        try:
            found = texts.cast(pa.float64())
        except pa.ArrowInvalid:
            fits = pc.match_substring_regex(texts, r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$")
            row = pc.index(pc.fill_null(fits, True), False).as_py()
            shown = quoted(texts[row].as_py(), 60) if row >= 0 else "a value"
            raise InputError(f"{called}: row {row + 1}, column {name!r}: {shown} is no number") from None
    infinite = pc.fill_null(pc.invert(pc.is_finite(found)), False)
    if pc.any(infinite).as_py():
        raise InputError(f"{called}: row {pc.index(infinite, True).as_py() + 1}, column {name!r}: no finite number")
    return found
