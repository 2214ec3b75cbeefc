"""Texts of a run's items, and columns of items and users, as Parquet: what few answers read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmrec_peft.artifact.manifest import limit_of
from llmrec_peft.artifact.parquet import Table
from llmrec_peft.artifact.sealed import read_content
from llmrec_peft.data.column_types import ColumnType
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.strict_json import parse_json

OBJECT_CHARACTERS = 1 << 20
"""Characters of one row's columns."""


@dataclass(frozen=True)
class ItemTable:
    """Items in vocabulary order.

    Attributes:
        titles: Title of each item.
        texts: Text of it that the language model read.
        popularity: Training interactions of each item.
        columns: The owner's columns of each item, if prompts name them; else empty.
        types: Type of each of the owner's columns, to which columns of new items are brought; None if they are not
            known.
    """

    titles: Sequence[str]
    texts: Sequence[str]
    popularity: NDArray[np.int64]
    columns: Sequence[Mapping[str, Any]] = ()
    types: Mapping[str, ColumnType] | None = None


def write_items(path: Path, vocabulary: Vocabulary, items: ItemTable) -> None:
    """Write ids, texts and columns of items in index order."""
    columns = {"item_id": list(vocabulary.items), "text": list(items.texts)}
    if items.columns:
        columns["columns"] = [json.dumps(row, ensure_ascii=False, default=str) for row in items.columns]
    pq.write_table(pa.table(columns), path)


def read_item_texts(table: Table, vocabulary: Vocabulary) -> list[str]:
    """Return the text of each item.

    Raises:
        InputError: If the table is about other items, or has no such column.
    """
    _require_items(table, vocabulary)
    return table.texts("text")


def read_item_columns(table: Table, vocabulary: Vocabulary) -> tuple[Mapping[str, Any], ...]:
    """Return the owner's columns of each item; empty where prompts do not name them.

    Raises:
        InputError: If the table is about other items, or a row is no JSON object of bounded size.
    """
    _require_items(table, vocabulary)
    return _objects(table, "columns") if "columns" in table else ()


def _require_items(table: Table, vocabulary: Vocabulary) -> None:
    """Refuse a table that is about other items, or about the same ones in another order."""
    ids = table.texts("item_id")
    if len(ids) != len(vocabulary.items):
        raise table.wrong(f"{len(ids)} items, and {len(vocabulary.items)} in the catalogue")
    for row, (one, other) in enumerate(zip(ids, vocabulary.items, strict=True), start=1):
        if one != other:
            raise table.wrong(f"row {row} is item {one[:40]!r}, and {other[:40]!r} in the catalogue")


def _objects(table: Table, column: str) -> tuple[Mapping[str, Any], ...]:
    """Return a column of JSON objects, each of bounded size."""
    found = []
    for text in table.texts(column):
        if len(text) > OBJECT_CHARACTERS:
            raise table.wrong(f"{column}: a row has {len(text):,} characters")
        try:
            values = parse_json(text.encode(), "the row", infinite=True)
        except InputError as error:
            raise table.wrong(f"a row of {column} is no JSON object ({str(error).partition(': ')[2]})") from None
        if not isinstance(values, dict):
            raise table.wrong(f"a row of {column} is no JSON object")
        found.append(values)
    return tuple(found)


def write_users(path: Path, users: Sequence[Mapping[str, Any]]) -> None:
    """Write the owner's columns of users, in index order; private, never published."""
    pq.write_table(pa.table({"columns": [json.dumps(row, ensure_ascii=False, default=str) for row in users]}), path)


def read_users(path: Path, num_users: int, content: bytes | bytearray | None = None) -> list[Mapping[str, Any]]:
    """Read the owner's columns of each user index; empty if the file was not passed on.

    Raises:
        InputError: If it is no such table, or is about another number of users.
    """
    if content is None and not path.is_file():
        return [{}] * num_users
    table = table_of(path, content)
    if table.rows != num_users - 1:
        raise table.wrong(f"{table.rows} users, and {num_users - 1} in the catalogue")
    return [{}, *_objects(table, "columns")]


def table_of(path: Path, content: bytes | bytearray | None) -> Table:
    """Return a table of a run folder, from its bytes where they were read already."""
    return Table(read_content(path, limit_of(path.name)) if content is None else content, path)
