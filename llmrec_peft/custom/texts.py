"""Texts: a column of any kind as trimmed texts, its missing values as none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "\\N", "?")
"""Texts that stand for no value, but in ids and titles."""


def as_texts(values: pa.ChunkedArray, missing: bool = True) -> pa.ChunkedArray:
    """Return a column as trimmed texts; empty ones, and with `missing` marks of missing values, are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_nested(values.type):
        raise InputError(f"a column of type {values.type} has no ids and no texts")
    if pa.types.is_floating(values.type):
        there = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
        whole = pc.all(pc.equal(there, pc.floor(there))).as_py()
        small = pc.max(pc.abs(there)).as_py()
        values = there.cast(pa.int64()) if whole and (small or 0.0) < 2.0**53 else there
    texts = pc.utf8_trim_whitespace(values.cast(pa.string()))
    nothing = pa.array(MISSING if missing else ("",), pa.string())
    texts = pc.if_else(pc.is_in(texts, value_set=nothing), pa.scalar(None, pa.string()), texts)
    return texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([texts])
