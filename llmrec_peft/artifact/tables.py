"""Vocabulary, items and seen pairs of a run folder, as Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError


@dataclass(frozen=True)
class ItemTable:
    """Items in vocabulary order.

    Attributes:
        titles: Title of each item.
        texts: Text that the language model read of it.
        popularity: Training ratings of it.
    """

    titles: tuple[str, ...]
    texts: tuple[str, ...]
    popularity: NDArray[np.int64]


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
    pq.write_table(pa.table(columns), path)


def read_items(path: Path) -> ItemTable:
    """Read what `write_items` wrote."""
    table = _read(path, ("item_id", "title", "text", "popularity"))
    return ItemTable(
        tuple(table["title"].to_pylist()),
        tuple(table["text"].to_pylist()),
        table["popularity"].to_numpy().astype(np.int64),
    )


def write_seen(path: Path, seen: Interactions) -> None:
    """Write which user has met which item, by index; private, never published."""
    pq.write_table(pa.table({"user": seen.user, "item": seen.item}), path)


def read_seen(path: Path, num_users: int) -> list[NDArray[np.int64]]:
    """Items that each user index has met; empty where the file was not handed on."""
    if not path.is_file():
        return [np.empty(0, np.int64)] * num_users
    table = _read(path, ("user", "item"))
    user, item = table["user"].to_numpy(), table["item"].to_numpy()
    order = np.argsort(user, kind="stable")
    bounds = np.searchsorted(user[order], np.arange(num_users + 1))
    return [item[order[bounds[row] : bounds[row + 1]]].astype(np.int64) for row in range(num_users)]


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    try:
        return pq.read_table(path, columns=list(columns))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{path}: not the table it should be ({str(error).splitlines()[0]})") from None
