"""Former format: what run folders of format 3 held as Parquet, read to be written as this version's files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec_peft.artifact.manifest import FORMER, is_there, read_manifest
from llmrec_peft.artifact.parquet import Table
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.artifact.seen import Seen
from llmrec_peft.artifact.tables import ItemTable, read_item_columns
from llmrec_peft.data.column_types import ColumnType
from llmrec_peft.data.vocabulary import UNKNOWN, Vocabulary

VOCABULARY, ITEMS, SEEN = "vocabulary.parquet", "items.parquet", "seen.parquet"
_TYPES = b"llmrec_peft.column_types"
"""Key in the schema of ``items.parquet`` for the types of the owner's columns, as JSON."""


@dataclass(frozen=True)
class FormerTables:
    """Tables of a run of format 3.

    Attributes:
        vocabulary: Users and items.
        items: Their titles, texts, popularity, columns and types.
        seen: Known interactions; None if they were not passed on.
    """

    vocabulary: Vocabulary
    items: ItemTable
    seen: Seen | None


def open_former(folder: Path) -> SealedFolder:
    """Read the manifest of a run folder of format 3.

    Raises:
        InputError: If it is no such folder, or its manifest was changed.
    """
    return SealedFolder(folder, read_manifest(folder, verify=False, layout=FORMER))


def read_former(sealed: SealedFolder) -> FormerTables:
    """Read the tables of a run of format 3, each held against its manifest and the others.

    Raises:
        InputError: If one is missing, changed, or not the table that it should be.
    """
    vocabulary = _vocabulary(Table(sealed.content(VOCABULARY), sealed.folder / VOCABULARY))
    items = _items(Table(sealed.content(ITEMS), sealed.folder / ITEMS), vocabulary)
    seen = None
    if is_there(sealed.folder / SEEN):
        seen = _seen(Table(sealed.content(SEEN), sealed.folder / SEEN), vocabulary)
    return FormerTables(vocabulary, items, seen)


def _vocabulary(table: Table) -> Vocabulary:
    kinds, ids = table.texts("kind"), table.texts("id")
    found = {kind: tuple(one for own, one in zip(kinds, ids, strict=True) if own == kind) for kind in ("user", "item")}
    if len(found["user"]) + len(found["item"]) < len(ids):
        raise table.wrong("a kind is neither user nor item")
    for kind, names in found.items():
        if not all(names) or len(set(names)) < len(names):
            raise table.wrong(f"the id of a {kind} is empty or stands twice")
    return Vocabulary(found["user"], found["item"])


def _items(table: Table, vocabulary: Vocabulary) -> ItemTable:
    table.require("item_id", "title", "text", "popularity")
    if tuple(table.texts("item_id")) != vocabulary.items:
        raise table.wrong("its items are not those of vocabulary.parquet")
    popularity = table.numbers("popularity")
    if len(popularity) and popularity.min() < 0:
        raise table.wrong(f"popularity: {popularity.min()} interactions")
    columns = read_item_columns(table, vocabulary)
    return ItemTable(table.texts("title"), table.texts("text"), popularity, columns, _types(table))


def _types(table: Table) -> Mapping[str, ColumnType] | None:
    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    if _TYPES not in metadata:
        return None
    try:
        plain: dict[str, Any] = dict(json.loads(metadata[_TYPES]))
        return {str(name): ColumnType.from_plain(values) for name, values in plain.items()}
    except (ValueError, TypeError, RecursionError):
        raise table.wrong("the types of its columns are unreadable") from None


def _seen(table: Table, vocabulary: Vocabulary) -> Seen:
    table.require("user", "item", "label")
    user, item, label = table.numbers("user"), table.numbers("item"), table.numbers("label", pa.float32())
    for name, index, count in (("user", user, vocabulary.num_users), ("item", item, vocabulary.num_items)):
        outside = (index < UNKNOWN) | (index >= count)
        if outside.any():
            raise table.wrong(f"{name} {index[outside][0]} is none of the run's {name}s 1 to {count - 1}")
    learned = table.flags("learned") if "learned" in table else np.ones(len(user), bool)
    time = table.numbers("timestamp") if "timestamp" in table else None
    return Seen(user, item, label, learned, time)
