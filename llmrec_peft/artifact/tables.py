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

from llmrec_peft.data.column_types import ColumnType
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError


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


def read_vocabulary(path: Path) -> Vocabulary:
    """Read what `write_vocabulary` wrote."""
    table = _read(path, ("kind", "id"))
    pairs = list(zip(table["kind"].to_pylist(), table["id"].to_pylist(), strict=True))
    return Vocabulary(
        tuple(name for kind, name in pairs if kind == "user"), tuple(name for kind, name in pairs if kind == "item")
    )


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


def read_items(path: Path) -> ItemTable:
    """Read what `write_items` wrote."""
    table = _read(path, ("item_id", "title", "text", "popularity"))
    told = _read(path, ("columns",))["columns"].to_pylist() if _has(path, "columns") else []
    try:
        columns = tuple(dict(json.loads(row)) for row in told)
    except (ValueError, TypeError):
        raise InputError(f"{path}: not the table it should be (a row of columns is no JSON object)") from None
    return ItemTable(
        tuple(table["title"].to_pylist()),
        tuple(table["text"].to_pylist()),
        _numbers(path, table, "popularity"),
        columns,
        _read_types(path, table.schema.metadata or {}),
    )


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


def read_users(path: Path, num_users: int) -> list[Mapping[str, Any]]:
    """Read the owner's columns of each user index; empty if the file was not passed on."""
    if not path.is_file():
        return [{}] * num_users
    rows = [dict(json.loads(row)) for row in _read(path, ("columns",))["columns"].to_pylist()]
    return [{}, *rows]


def write_seen(path: Path, seen: Seen) -> None:
    """Write each user's known interactions, oldest first; private, never published."""
    learned = np.ones(len(seen.user), bool) if seen.learned is None else seen.learned
    columns = {"user": seen.user, "item": seen.item, "label": seen.label, "learned": learned}
    if seen.time is not None:
        columns["timestamp"] = seen.time
    pq.write_table(pa.table(columns), path)


def read_seen(path: Path, num_users: int) -> Histories:
    """Read each user index's known interactions, oldest first; empty histories if the file was not passed on."""
    if not path.is_file():
        return Histories.empty(num_users)
    table = _read(path, ("user", "item", "label"))
    user, item = _numbers(path, table, "user"), _numbers(path, table, "item")
    label = _numbers(path, table, "label", np.float32)
    time = _numbers(path, _read(path, ("timestamp",)), "timestamp") if _has(path, "timestamp") else None
    return Seen(user, item, label, time=time).by_user(num_users)


def read_learned(path: Path) -> Interactions | None:
    """Read the known interactions that were trained on; None if the file was not passed on."""
    if not path.is_file():
        return None
    table = _read(path, ("user", "item", "label"))
    if _has(path, "learned"):
        table = table.filter(_read(path, ("learned",))["learned"])
    user, item = _numbers(path, table, "user"), _numbers(path, table, "item")
    label = _numbers(path, table, "label", np.float32)
    times = np.zeros(len(user), np.int64)
    return Interactions(user, item, label, times)


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


def _has(path: Path, column: str) -> bool:
    try:
        return column in pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        return False  # reading the file reports what is wrong with it


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:  # `read_table` goes through pyarrow.dataset, which imports pandas
            absent = [column for column in columns if column not in file.schema_arrow.names]
            if absent:
                raise InputError(f"{path}: not the table it should be (no column {', '.join(absent)})")
            return file.read(columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not the table it should be ({str(error).splitlines()[0]})") from None


def _numbers(path: Path, table: pa.Table, column: str, kind: type[np.generic] = np.int64) -> NDArray[Any]:
    """Return a column of numbers as an array of dtype `kind` [rows].

    Raises:
        InputError: If the column does not hold a number in every row.
    """
    values, dtype = table[column], pa.from_numpy_dtype(kind)
    try:
        # `cast` imports pyarrow.compute, and `to_numpy` pandas: both take longer than reading the file
        array = (values if values.type == dtype else values.cast(dtype)).combine_chunks()
    except pa.ArrowException as error:
        raise InputError(f"{path}: not the table it should be ({column}: {str(error).splitlines()[0]})") from None
    if array.null_count:
        raise InputError(f"{path}: not the table it should be ({column}: {array.null_count} empty rows)")
    buffer = array.buffers()[1]
    if buffer is None:
        return np.empty(0, kind)
    return np.frombuffer(buffer, kind)[array.offset : array.offset + len(array)].copy()
