"""Cells: columns that the recipe names, as ids, texts and numbers; what is none of these is named by row and column."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_peft.custom.texts import as_texts
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

if TYPE_CHECKING:
    import pyarrow as pa


ROUNDED = r"^\d(?:[.,]\d+)?[eE]\+\d{2,3}$"
"""How long numbers look whose last digits are lost."""


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


def ids(table: pa.Table, name: str, called: str, field: str) -> pa.ChunkedArray:
    """Return a column of ids that the recipe names as trimmed texts; empty cells are none.

    Raises:
        InputError: If the table lacks it, or its values have no text that tells them apart.
    """
    return id_texts(taken(table, name, called, field), f"{called}, column {quoted(name, 60)}")


def id_texts(values: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Return ids as trimmed texts; empty cells are none, and whole numbers with a point are written without.

    Args:
        values: Texts or numbers.
        where: Table and column, for messages.

    Raises:
        InputError: For bytes and nested values, and for numbers with a point so large that their last digits are lost:
            two users would be taken for one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_nested(kind) or "binary" in str(kind) or isinstance(kind, pa.BaseExtensionType):
        raise InputError(f"{where}: values of type {kind} are no ids: make texts of them")
    if pa.types.is_floating(kind):
        most = 2.0 ** {16: 11, 32: 24, 64: 53}[kind.bit_width]
        if (pc.max(pc.abs(values.cast(kind).filter(pc.is_finite(values.cast(kind))))).as_py() or 0.0) >= most:
            raise InputError(
                f"{where}: ids as large as these have lost digits as numbers with a point ({kind}): read the column as"
                " text or as whole numbers (pandas: dtype=str or Int64)"
            )
    texts = as_texts(values, missing=False)
    if pc.any(pc.match_substring(texts, "+")).as_py():  # several times as fast as the pattern
        row = pc.index(pc.match_substring_regex(texts, ROUNDED), True).as_py()
    else:
        row = -1
    if row >= 0:
        raise InputError(
            f"{where}: row {row + 1}, {quoted(texts[row].as_py(), 40)} is a rounded number, as spreadsheets and numbers"
            " with a point leave of long ids: write the ids as text or whole numbers"
        )
    return texts


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
