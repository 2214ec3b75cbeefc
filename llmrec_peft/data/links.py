"""Links: who is connected with whom among the users, numbered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.dataset import numbered
from llmrec_peft.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from datasets import Dataset

Direction = Literal["out", "in", "both"]
"""Which neighbours a user has: those whom he links to, those who link to him, or both."""


@dataclass(frozen=True)
class Links:
    """Directed links between users, each once, sorted; none of a user to himself.

    Attributes:
        user: Index of who links, such as who trusts, int64 [m].
        other: Index of who is linked to, such as who is trusted, int64 [m].
    """

    user: NDArray[np.int64]
    other: NDArray[np.int64]

    @classmethod
    def of(cls, table: Dataset, vocabulary: Vocabulary) -> Links:
        """Number the links of a table with the columns ``user_id`` and ``other_id``."""
        user = numbered(table, "user_id", vocabulary.users)
        other = numbered(table, "other_id", vocabulary.users)
        return cls.distinct(user, other)

    @classmethod
    def distinct(cls, user: NDArray[np.int64], other: NDArray[np.int64]) -> Links:
        """Keep each link once and leave out those of a user to himself and those of unknown users (0).

        >>> found = Links.distinct(np.array([2, 1, 2, 3, 0]), np.array([1, 2, 1, 3, 1]))
        >>> found.user.tolist(), found.other.tolist()
        ([1, 2], [2, 1])
        """
        kept = (user > 0) & (other > 0) & (user != other)
        width = int(max(user.max(initial=0), other.max(initial=0))) + 1
        pairs = np.unique(user[kept] * width + other[kept])
        return cls(pairs // width, pairs % width)

    def __len__(self) -> int:
        return len(self.user)

    def towards(self, direction: Direction) -> Links:
        """Return links from each user to the neighbours that a direction gives him."""
        if direction == "out":
            return self
        if direction == "in":
            return Links.distinct(self.other, self.user)
        return Links.distinct(np.concatenate([self.user, self.other]), np.concatenate([self.other, self.user]))
