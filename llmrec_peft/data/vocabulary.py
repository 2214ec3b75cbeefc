"""Vocabulary: the index of each user and item in the trained tables; 0 for all unknown ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 0
"""Index of a user or item that does not occur in training."""


@dataclass(frozen=True)
class Vocabulary:
    """Known users and items in the order of their indices, which start at 1.

    Attributes:
        users: User ids; ``users[0]`` has index 1.
        items: Item ids; ``items[0]`` has index 1.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]

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
    def _user_index(self) -> dict[str, int]:
        return {user: index for index, user in enumerate(self.users, start=1)}

    @cached_property
    def _item_index(self) -> dict[str, int]:
        return {item: index for index, item in enumerate(self.items, start=1)}

    def user_indices(self, users: Sequence[str]) -> NDArray[np.int64]:
        """Return the indices of users, 0 for unknown ones, [len(users)]."""
        return np.fromiter((self._user_index.get(user, UNKNOWN) for user in users), np.int64, len(users))

    def item_indices(self, items: Sequence[str]) -> NDArray[np.int64]:
        """Return the indices of items, 0 for unknown ones, [len(items)]."""
        return np.fromiter((self._item_index.get(item, UNKNOWN) for item in items), np.int64, len(items))
