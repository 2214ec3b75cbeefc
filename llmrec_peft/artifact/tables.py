"""Vocabulary, items and users of a run folder, as Parquet."""

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

Content = bytes | bytearray | None
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

    titles: tuple[str, ...]
    texts: tuple[str, ...]
    popularity: NDArray[np.int64]
    columns: tuple[Mapping[str, Any], ...] = ()
    types: Mapping[str, ColumnType] | None = None


_TYPES = b"llmrec_peft.column_types"
"""Key in the schema of ``items.parquet`` for the types of the owner's columns, as JSON."""


def write_vocabulary(path: Path, vocabulary: Vocabulary) -> None:
    """Write users and items in index order."""
    kinds = ["user"] * len(vocabulary.users) + ["item"] * len(vocabulary.items)
    pq.write_table(pa.table({"kind": kinds, "id": [*vocabulary.users, *vocabulary.items]}), path)


def read_vocabulary(path: Path, content: Content = None) -> Vocabulary:
    """Read what `write_vocabulary` wrote.

    Args:
        path: The file.
        content: Its bytes, if they were read already.

    Raises:
        InputError: If it is no such table, or an id is empty or stands twice.
    """
    table = table_of(path, content)
    kinds, ids = table.texts("kind"), table.texts("id")
    found = {
        kind: tuple(name for own, name in zip(kinds, ids, strict=True) if own == kind) for kind in ("user", "item")
    }
    users, items = found["user"], found["item"]
    if len(users) + len(items) < len(ids):
        raise table.wrong("a kind is neither user nor item")
    for kind, names in found.items():
        if not all(names) or len(set(names)) < len(names):
            raise table.wrong(f"the id of a {kind} is empty or stands twice")
    return Vocabulary(users, items)


def write_items(path: Path, vocabulary: Vocabulary, items: ItemTable) -> None:
    """Write items in index order."""
    columns = {
        "item_id": list(vocabulary.items),
        "title": list(items.titles),
        "text": list(items.texts),
        "popularity": items.popularity,
    }
    if items.columns:
        columns["columns"] = [json.dumps(row, ensure_ascii=False, default=str) for row in items.columns]
    table = pa.table(columns)
    if items.types is not None:
        plain = {name: column.plain() for name, column in items.types.items()}
        table = table.replace_schema_metadata({_TYPES: json.dumps(plain, ensure_ascii=False)})
    pq.write_table(table, path)


def read_items(path: Path, content: Content = None, vocabulary: Vocabulary | None = None) -> ItemTable:
    """Read what `write_items` wrote.

    Args:
        path: The file.
        content: Its bytes, if they were read already.
        vocabulary: Known items; the table must be about these, in their order.

    Raises:
        InputError: If it is no such table, or is about other items.
    """
    table = table_of(path, content)
    table.require("item_id", "title", "text", "popularity")
    ids = table.texts("item_id")
    if vocabulary is not None and tuple(ids) != vocabulary.items:
        raise table.wrong(_other_items(ids, vocabulary))
    popularity = table.numbers("popularity")
    if len(popularity) and popularity.min() < 0:
        raise table.wrong(f"popularity: {popularity.min()} interactions")
    columns = _objects(table, "columns") if "columns" in table else ()
    types = _read_types(path, table.schema.metadata or {})
    return ItemTable(tuple(table.texts("title")), tuple(table.texts("text")), popularity, columns, types)


def _other_items(ids: Sequence[str], vocabulary: Vocabulary) -> str:
    if len(ids) != len(vocabulary.items):
        return f"{len(ids)} items, and {len(vocabulary.items)} in vocabulary.parquet"
    row = next(row for row, pair in enumerate(zip(ids, vocabulary.items, strict=True)) if pair[0] != pair[1])
    return f"row {row + 1} is item {ids[row][:40]!r}, and {vocabulary.items[row][:40]!r} in vocabulary.parquet"


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


def _read_types(path: Path, metadata: Mapping[bytes, bytes]) -> dict[str, ColumnType] | None:
    """Read the types of the owner's columns from a schema; None if it has none."""
    if _TYPES not in metadata:
        return None
    try:
        plain = dict(json.loads(metadata[_TYPES]))
        return {str(name): ColumnType.from_plain(values) for name, values in plain.items()}
    except (ValueError, TypeError, RecursionError):
        raise InputError(f"{path}: not the table it should be (the types of its columns are unreadable)") from None


def write_users(path: Path, users: Sequence[Mapping[str, Any]]) -> None:
    """Write the owner's columns of users, in index order; private, never published."""
    pq.write_table(pa.table({"columns": [json.dumps(row, ensure_ascii=False, default=str) for row in users]}), path)


def read_users(path: Path, num_users: int, content: Content = None) -> list[Mapping[str, Any]]:
    """Read the owner's columns of each user index; empty if the file was not passed on.

    Raises:
        InputError: If it is no such table, or is about another number of users.
    """
    if content is None and not path.is_file():
        return [{}] * num_users
    table = table_of(path, content)
    if table.rows != num_users - 1:
        raise table.wrong(f"{table.rows} users, and {num_users - 1} in vocabulary.parquet")
    return [{}, *_objects(table, "columns")]


def table_of(path: Path, content: Content) -> Table:
    """Return a table of a run folder, from its bytes where they were read already."""
    return Table(read_content(path, limit_of(path.name)) if content is None else content, path)
