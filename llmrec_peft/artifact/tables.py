"""Vocabulary, items, users and known interactions of a run folder, as Parquet."""

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
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.vocabulary import UNKNOWN, Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.strict_json import parse_json

Content = bytes | bytearray | None
OBJECT_CHARACTERS = 1 << 20
"""Characters of one row's columns."""
LATEST = 1 << 60
"""Largest time, and by its sign the smallest: differences of two must be numbers too."""


@dataclass(frozen=True)
class Seen:
    """Known interactions of users, each user's entries oldest first.

    Attributes:
        user: User indices, int64 [m].
        item: Item indices, int64 [m].
        label: Labels, float32 [m].
        learned: Which entries were trained on, bool [m]; None for all of them.
        time: Times in seconds, int64 [m]; None if they are not known.
    """

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    label: NDArray[np.float32]
    learned: NDArray[np.bool_] | None = None
    time: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, learned: Interactions, everything: Interactions) -> Seen:
        """Collect a run's known interactions of its users: given histories, then training interactions by time.

        Args:
            learned: Interactions that were trained on.
            everything: Interactions of all parts; if the owner gives histories, each user's longest is taken.
        """
        order = np.lexsort((learned.timestamp, learned.user))
        user, item, label = learned.user[order], learned.item[order], learned.label[order]
        time = learned.timestamp[order]
        histories = everything.history
        if histories is None or not len(histories):
            return cls(user, item, label, time=time)
        longest = np.lexsort((histories.lengths, everything.user))
        last = longest[np.append(np.diff(everything.user[longest]) != 0, True)]
        entries = [histories.of(row) for row in last]
        history_user = np.repeat(everything.user[last], [len(own) for own, _ in entries])
        history_item = np.concatenate([own for own, _ in entries])
        history_label = np.concatenate([own for _, own in entries])
        width = np.int64(max(item.max(initial=0), history_item.max(initial=0)) + 1)
        pair, history_pair = user * width + item, history_user * width + history_item
        fresh = ~np.isin(pair, history_pair)
        history_time = None
        if histories.time is not None:
            history_time = np.concatenate([histories.time[histories.begin[row] : histories.end[row]] for row in last])
        return cls(
            np.concatenate([history_user, user[fresh]]),
            np.concatenate([history_item, item[fresh]]),
            np.concatenate([history_label, label[fresh]]).astype(np.float32),
            np.concatenate([_among(history_pair, pair), np.ones(int(fresh.sum()), bool)]),
            None if history_time is None else np.concatenate([history_time, time[fresh]]),
        )

    def by_user(self, num_users: int) -> Histories:
        """Return one history per user index."""
        order = np.argsort(self.user, kind="stable")
        bounds = np.searchsorted(self.user[order], np.arange(num_users + 1)).astype(np.int64)
        time = None if self.time is None else self.time[order]
        return Histories(self.item[order], self.label[order], bounds[:-1], bounds[1:], time)


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
    table = _table(path, content)
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
    table = _table(path, content)
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
            raise table.wrong(f"{column}: {error}") from None
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
    table = _table(path, content)
    if table.rows != num_users - 1:
        raise table.wrong(f"{table.rows} users, and {num_users - 1} in vocabulary.parquet")
    return [{}, *_objects(table, "columns")]


def write_seen(path: Path, seen: Seen) -> None:
    """Write each user's known interactions, oldest first; private, never published."""
    learned = np.ones(len(seen.user), bool) if seen.learned is None else seen.learned
    columns = {"user": seen.user, "item": seen.item, "label": seen.label, "learned": learned}
    if seen.time is not None:
        columns["timestamp"] = seen.time
    pq.write_table(pa.table(columns), path)


def read_seen(path: Path, vocabulary: Vocabulary, content: Content = None) -> Histories:
    """Read each user index's known interactions, oldest first; empty histories if the file was not passed on.

    Raises:
        InputError: If it is no such table, or names users or items that the run does not have.
    """
    if content is None and not path.is_file():
        return Histories.empty(vocabulary.num_users)
    table = _table(path, content)
    user, item, label, time = _interactions(table)
    if time is not None and len(time) and max(abs(int(time.min())), abs(int(time.max()))) > LATEST:
        raise table.wrong("timestamp: a time beyond all calendars")
    # an owner's history may name unknown items
    for name, index, count in (("user", user, vocabulary.num_users), ("item", item, vocabulary.num_items)):
        outside = (index < UNKNOWN) | (index >= count)
        if outside.any():
            raise InputError(f"{path}: {name} {index[outside][0]} is none of the run's {name}s 1 to {count - 1}")
    return Seen(user, item, label, time=time).by_user(vocabulary.num_users)


def read_learned(path: Path, content: Content = None) -> Interactions | None:
    """Read the known interactions that were trained on; None if the file was not passed on.

    Raises:
        InputError: If it is no such table.
    """
    if content is None and not path.is_file():
        return None
    table = _table(path, content)
    user, item, label, _ = _interactions(table)
    if "learned" in table:
        learned = table.flags("learned")
        user, item, label = user[learned], item[learned], label[learned]
    return Interactions(user, item, label, np.zeros(len(user), np.int64))


Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64] | None]


def _interactions(table: Table) -> Columns:
    table.require("user", "item", "label")
    time = table.numbers("timestamp") if "timestamp" in table else None
    return table.numbers("user"), table.numbers("item"), table.numbers("label", pa.float32()), time


def _among(given: NDArray[np.int64], learned: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which known pairs were trained on, each at most as often as it occurred in training, [n]."""
    names, count = np.unique(learned, return_counts=True)
    order = np.argsort(given, kind="stable")
    starts = np.flatnonzero(np.diff(given[order], prepend=-1) != 0)
    nth = np.empty(len(given), np.int64)
    nth[order] = np.arange(len(given)) - np.repeat(starts, np.diff(np.append(starts, len(given))))
    place = np.searchsorted(names, given).clip(0, max(0, len(names) - 1))
    known = np.zeros(len(given), np.int64) if not len(names) else np.where(names[place] == given, count[place], 0)
    return np.asarray(nth < known)


def _table(path: Path, content: Content) -> Table:
    return Table(read_content(path, limit_of(path.name)) if content is None else content, path)
