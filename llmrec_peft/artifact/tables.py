"""Texts of a run's items and columns of its users, as Parquet: what few answers read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmrec_peft.artifact.deferred import Deferred
from llmrec_peft.artifact.manifest import limit_of
from llmrec_peft.artifact.object_rows import ObjectRows, as_texts, require_objects
from llmrec_peft.artifact.parquet import Table
from llmrec_peft.artifact.sealed import Content, read_content
from llmrec_peft.data.column_types import ColumnType
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.known_contents import is_known


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
    """Write ids and texts of items in index order."""
    pq.write_table(pa.table({"item_id": list(vocabulary.items), "text": list(items.texts)}), path)


def read_item_texts(table: Table, vocabulary: Vocabulary, column: str = "text") -> list[str]:
    """Return the text of each item, or another column of texts.

    Raises:
        InputError: If the table is about other items, or has no such column.
    """
    _require_items(table, vocabulary)
    return table.texts(column)


def read_item_columns(table: Table, vocabulary: Vocabulary) -> Sequence[Mapping[str, Any]]:
    """Return the owner's columns of each item; empty for a table without them.

    Raises:
        InputError: If the table is about other items, or a row is no JSON object of bounded size.
    """
    if "columns" not in table:
        return ()
    texts = read_item_texts(table, vocabulary, "columns")
    require_objects(texts, table.wrong)
    return ObjectRows(texts)


def _require_items(table: Table, vocabulary: Vocabulary) -> None:
    """Refuse a table that is about other items, or about the same ones in another order."""
    ids = table.texts("item_id")
    if len(ids) != len(vocabulary.items):
        raise table.wrong(f"{len(ids)} items, and {len(vocabulary.items)} in the catalogue")
    for row, (one, other) in enumerate(zip(ids, vocabulary.items, strict=True), start=1):
        if one != other:
            raise table.wrong(f"row {row} is item {one[:40]!r}, and {other[:40]!r} in the catalogue")


def write_users(path: Path, users: Sequence[Mapping[str, Any]]) -> None:
    """Write the owner's columns of users, in index order; private, never published."""
    pq.write_table(pa.table({"columns": as_texts(users)}), path)


def read_users(path: Path, num_users: int, content: Content = None) -> Sequence[Mapping[str, Any]]:
    """Read the owner's columns of each user index; empty if the file was not passed on.

    A row is parsed when it is asked for. What was checked once in this process is not unpacked before.

    Raises:
        InputError: If it is no such table, or is about another number of users.
    """
    if content is None and not path.is_file():
        return [{}] * num_users
    content = read_content(path, limit_of(path.name)) if content is None else content
    table = table_of(path, content)
    if table.rows != num_users - 1:
        raise table.wrong(f"{table.rows} users, and {num_users - 1} in the catalogue")
    texts = Deferred(num_users - 1, partial(_columns, path, content))
    if not is_known():
        require_objects(texts, table.wrong)
    return ObjectRows(texts, nobody=True)


def _columns(path: Path, content: Content) -> list[str]:
    return table_of(path, content).texts("columns")


def table_of(path: Path, content: Content) -> Table:
    """Return a table of a run folder, from its bytes where they were read already."""
    return Table(read_content(path, limit_of(path.name)) if content is None else content, path)
