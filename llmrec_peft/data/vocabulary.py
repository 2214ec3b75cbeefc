"""Vocabulary: the index of each user and item in the trained tables; 0 for all unknown ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.text_column import rows_by_text, rows_of
from llmrec_peft.errors import InputError

UNKNOWN = 0
"""Index of a user or item that does not occur in training."""


@dataclass(frozen=True)
class Vocabulary:
    """Known users and items in the order of their indices, which start at 1.

    Attributes:
        users: User ids; ``users[0]`` has index 1. A tuple, or a `TextColumn` over a run's file.
        items: Item ids; ``items[0]`` has index 1.
    """

    users: Sequence[str]
    items: Sequence[str]

    @classmethod
    def of(cls, users: Iterable[str], items: Iterable[str]) -> Vocabulary:
        """Number ids in the order of their first occurrence."""
        return cls(tuple(dict.fromkeys(users)), tuple(dict.fromkeys(items)))

    @property
    def num_users(self) -> int:
        """Rows of a user table, the unknown one included."""
        return len(self.users) + 1

    @property
    def num_items(self) -> int:
        """Rows of an item table, the unknown one included."""
        return len(self.items) + 1

    @cached_property
    def _user_rows(self) -> Mapping[str, int]:
        return rows_by_text(self.users)

    @cached_property
    def item_rows(self) -> Mapping[str, int]:
        """Row of each item by its id: its index less one."""
        return rows_by_text(self.items)

    def user_indices(self, users: Sequence[str]) -> NDArray[np.int64]:
        """Return the indices of users, 0 for unknown ones, [len(users)].

        Raises:
            InputError: For an id that is no text: as a number it would be an unknown user's.
        """
        return _indices(self._user_rows, users, "user")

    def item_indices(self, items: Sequence[str]) -> NDArray[np.int64]:
        """Return the indices of items, 0 for unknown ones, [len(items)].

        Raises:
            InputError: For an id that is no text.
        """
        return _indices(self.item_rows, items, "item")

    def user_ids(self, indices: NDArray[np.int64]) -> list[str]:
        """Return the ids of known users, by their indices.

        Raises:
            ValueError: For the index of an unknown user, who has no id.
        """
        return _ids(self.users, indices)

    def item_ids(self, indices: NDArray[np.int64]) -> list[str]:
        """Return the ids of known items, by their indices.

        Raises:
            ValueError: For the index of an unknown item, which has no id.
        """
        return _ids(self.items, indices)


def _indices(rows: Mapping[str, int], ids: Sequence[str], what: str) -> NDArray[np.int64]:
    try:
        found = rows_of(rows, ids) + 1
    except TypeError:  # a list or the like, which no dictionary looks up
        found = np.zeros(len(ids), np.int64)
    for at in np.flatnonzero(found == UNKNOWN).tolist():
        if not isinstance(ids[at], str):
            kind: Any = type(ids[at])
            raise InputError(f"{what} ids are texts: {ids[at]!r:.40} is of type {kind.__name__}; give str(id)")
    return found


def _ids(known: Sequence[str], indices: NDArray[np.int64]) -> list[str]:
    if len(indices) and int(indices.min()) <= UNKNOWN:
        raise ValueError("index 0 stands for all that is unknown, which has no id")
    return [known[index - 1] for index in indices.tolist()]
