"""Division: one dataset as several, one for each value of a column of its items, users or interactions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmrec_peft.data.dataset import RecDataset, arrow, numbered, selected
from llmrec_peft.data.tenant_names import tenant_names
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.printable import quoted

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from numpy.typing import NDArray

TABLES = ("items", "users", "interactions")
_OTHERWISE = frozenset(("user_id", "item_id", "rating", "timestamp", "part", "history", "history_rating", "review"))
"""Columns that say something else than whose a row is."""
MOST = 100_000
"""Values of a column, at most: more are ids or numbers."""


@dataclass(frozen=True)
class Division:
    """A dataset in parts.

    Attributes:
        table: Table of the column.
        column: Column.
        parts: Data of each value, by the name of its tenant, in the order of names.
        values: Value of each name.
        without: Rows of the table that have no value, and belong to nobody.
    """

    table: str
    column: str
    parts: Mapping[str, RecDataset]
    values: Mapping[str, str]
    without: int


def divided(dataset: RecDataset, asked: str) -> Division:
    """Divide a dataset by a column.

    Of a value of items or interactions a part has these rows, and the users (and items) that their interactions name;
    of a value of users these users, their interactions, and all items, since the catalogue is everybody's.

    Args:
        dataset: The data.
        asked: Name of the column; with ``items.``, ``users.`` or ``interactions.`` before it where several have one.

    Raises:
        InputError: If there is no such column, naming those that there are; if its rows hold lists, or nothing.
    """
    table, name = _found(dataset, asked)
    if dataset.items_are_users and table != "interactions":
        raise InputError(
            f"--split-by {asked}: the items of {dataset.name} are its users: take a column of interactions"
        )
    whole = getattr(dataset, table)
    texts = _texts(arrow(whole).column(name), f"{table}.{name}")
    rows: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        if text is not None and text.strip():
            rows.setdefault(text, []).append(row)
    if not rows:
        raise InputError(f"--split-by {asked}: no row of {table} has a value in {name}")
    if len(rows) > MOST:
        raise InputError(f"--split-by {asked}: {len(rows):,} values; a column of tenants has at most {MOST:,}")
    names = tenant_names(rows)
    of_names = {names[value]: value for value in rows}
    parts = {
        tenant: _part(dataset, table, name, of_names[tenant], np.array(rows[of_names[tenant]], np.int64))
        for tenant in sorted(of_names)
    }
    return Division(table, name, parts, of_names, len(texts) - sum(map(len, rows.values())))


def _found(dataset: RecDataset, asked: str) -> tuple[str, str]:
    """Return the table and the column that are meant."""
    there = {
        f"{table}.{name}": (table, name)
        for table in TABLES
        for name in getattr(dataset, table).column_names
        if name not in _OTHERWISE
    }
    if asked in there:
        return there[asked]
    meant = [where for where, (_, name) in there.items() if name == asked]
    if len(meant) > 1:
        raise InputError(f"--split-by {asked}: there are {' and '.join(meant)}: say which")
    if not meant:
        raise InputError(f"--split-by {quoted(asked)}: {dataset.name} has no such column; {nearest(asked, there)}")
    return there[meant[0]]


def _texts(values: pa.ChunkedArray, where: str) -> list[str | None]:
    """Return the values of a column as texts."""
    import pyarrow as pa

    kind = values.type
    if pa.types.is_nested(kind):
        raise InputError(f"--split-by {where}: its rows hold several values, and a row belongs to one tenant")
    return [None if value is None or _is_nan(value) else str(value) for value in values.to_pylist()]


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _part(dataset: RecDataset, table: str, column: str, value: str, rows: NDArray[np.int64]) -> RecDataset:
    """Return the data of one value, which has some rows of a table."""
    interactions, items, users = dataset.interactions, dataset.items, dataset.users
    if table == "interactions":
        interactions = selected(interactions, rows)
        items = _named(items, "item_id", interactions)
    elif table == "items":
        items = selected(items, rows)
        interactions = _of(interactions, "item_id", items)
    else:
        users = selected(users, rows)
        interactions = _of(interactions, "user_id", users)
    if table != "users":
        users = _named(users, "user_id", interactions)
    return replace(
        dataset,
        name=f"{dataset.name}, {column} {value}"[:200],
        interactions=interactions,
        items=items,
        users=users,
    )


def _of(interactions: Dataset, key: str, table: Dataset) -> Dataset:
    """Return the interactions of the users or items of a table."""
    return selected(interactions, np.flatnonzero(numbered(interactions, key, arrow(table).column(key)) > 0))


def _named(table: Dataset, key: str, interactions: Dataset) -> Dataset:
    """Return the users or items that interactions name."""
    return selected(table, np.flatnonzero(numbered(table, key, arrow(interactions).column(key)) > 0))
