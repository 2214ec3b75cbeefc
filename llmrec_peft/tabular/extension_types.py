"""Columns of Arrow's extension types as columns of plain ones: UUIDs as texts, others as what they are stored as."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as of

_UUID = "arrow.uuid"
_UUID_BYTES, _UUID_LETTERS = 16, 36
_HYPHENS = (8, 13, 18, 23)
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


def plain_table(table: pa.Table, uuids: Collection[str] = ()) -> pa.Table:
    """Return a table without columns of extension types.

    Args:
        table: Any table.
        uuids: Names of columns of 16 bytes that hold UUIDs, though their type does not say so.
    """
    for at, field in enumerate(table.schema):
        column = table.column(at)
        plain = [_plain(chunk, field.name in uuids) for chunk in column.chunks]
        if any(new is not old for new, old in zip(plain, column.chunks, strict=True)):
            table = table.set_column(at, field.name, pa.chunked_array(plain))
    return table


def _plain(values: pa.Array, uuid: bool) -> pa.Array:
    """Return an array, and the arrays inside of lists, without extension types."""
    kind = values.type
    if of.is_dictionary(kind) and isinstance(kind.value_type, pa.BaseExtensionType):
        return _plain(values.dictionary, uuid).take(values.indices)
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(values.storage, uuid or kind.extension_name == _UUID)
    if uuid and of.is_fixed_size_binary(kind) and kind.byte_width == _UUID_BYTES:
        return _texts(values)
    if (of.is_list(kind) or of.is_large_list(kind)) and (uuid or isinstance(kind.value_type, pa.BaseExtensionType)):
        return type(values).from_arrays(_offsets(values), _plain(values.values, uuid), mask=values.is_null())
    return values


def _offsets(values: pa.Array) -> pa.Array:
    """Return where each list begins in `values.values`; pyarrow takes a mask only beside offsets of their own."""
    return pa.array(values.offsets.to_numpy())


def _texts(values: pa.Array) -> pa.Array:
    """Return UUIDs as texts: 32 hexadecimal digits and four hyphens."""
    rows = len(values)
    stored = values.buffers()[1]
    if stored is None or not rows:
        return pa.nulls(rows, pa.string())
    begin = values.offset * _UUID_BYTES
    found = np.frombuffer(stored, np.uint8)[begin : begin + rows * _UUID_BYTES].reshape(rows, _UUID_BYTES)
    digits = np.stack([found >> 4, found & 15], axis=-1).reshape(rows, 2 * _UUID_BYTES)
    letters = np.full((rows, _UUID_LETTERS), ord("-"), np.uint8)
    letters[:, np.setdiff1d(np.arange(_UUID_LETTERS), _HYPHENS)] = _DIGITS[digits]
    ends = np.arange(rows + 1, dtype=np.int64) * _UUID_LETTERS
    texts = pa.LargeStringArray.from_buffers(rows, pa.py_buffer(ends), pa.py_buffer(letters)).cast(pa.string())
    return pc.if_else(values.is_valid(), texts, pa.scalar(None, pa.string()))
