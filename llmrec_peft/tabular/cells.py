"""Columns of cells that are texts, missing, or lists of texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as of

Cell = str | None | list[str | None]
LISTS = pa.list_(pa.string())


class Whole(str):
    """A whole number as the file writes it."""

    __slots__ = ()


class Number(str):
    """A number with a point or an exponent as the file writes it."""

    __slots__ = ()


def cell_of(value: Any) -> Cell:
    """Return a value of JSON, whose numbers are texts already, as a cell.

    >>> cell_of(True), cell_of(["a", {"b": Whole("1")}]), cell_of(None)
    ('true', ['a', '{"b": 1}'], None)
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return [one if one is None or isinstance(one, str) else _text(one) for one in value]
    return _text(value)


def _text(value: Any) -> str:
    return json.dumps(_numbers(value), ensure_ascii=False)


def _numbers(value: Any) -> Any:
    """Return a value with numbers in place of their texts."""
    if isinstance(value, dict):
        return {name: _numbers(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    try:
        return int(value) if isinstance(value, Whole) else float(value) if isinstance(value, Number) else value
    except ValueError:  # of more digits than Python takes
        return value


def column_of(cells: Sequence[Cell]) -> pa.Array:
    """Return cells as texts, or as lists of texts where one is a list: then a text is a list of one, an empty one none.

    Raises:
        UnicodeEncodeError: If one holds half a character.
    """
    if not any(isinstance(cell, list) for cell in cells):
        return pa.array(cells, pa.string())
    return pa.array([_listed(cell) for cell in cells], LISTS)


def _listed(cell: Cell) -> list[str | None] | None:
    return ([cell] if cell else []) if isinstance(cell, str) else cell


def joined(parts: Sequence[pa.Array]) -> pa.ChunkedArray:
    """Return the parts of a column, all as lists where one of them is."""
    if not any(of.is_list(part.type) for part in parts):
        return pa.chunked_array(parts, parts[0].type if parts else pa.string())
    return pa.chunked_array(
        [part if of.is_list(part.type) else pa.array(map(_listed, part.to_pylist()), LISTS) for part in parts], LISTS
    )
