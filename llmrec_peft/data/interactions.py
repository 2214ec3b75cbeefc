"""Interactions as numbered arrays: what training, baselines and metrics compute on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Interactions:
    """Parallel arrays over n interactions.

    Attributes:
        user: User indices, int64 [n].
        item: Item indices, int64 [n].
        label: Ratings, clicks, or 1 where meeting an item is all that is known, float32 [n].
        timestamp: Seconds (or any order), int64 [n].
        history: What the user had met before each interaction; None where nothing reads it.
        row: Row of each interaction in the whole dataset, int64 [n]; None for the whole dataset.
    """

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    label: NDArray[np.float32]
    timestamp: NDArray[np.int64]
    history: Histories | None = None
    row: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, dataset: RecDataset, vocabulary: Vocabulary) -> Interactions:
        """Number a dataset's interactions."""
        return cls(
            user=vocabulary.user_indices(column(dataset.interactions, "user_id")),
            item=vocabulary.item_indices(column(dataset.interactions, "item_id")),
            label=np.asarray(column(dataset.interactions, "rating"), dtype=np.float32),
            timestamp=np.asarray(column(dataset.interactions, "timestamp"), dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.label)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row of each interaction in the whole dataset, [n]."""
        return np.arange(len(self), dtype=np.int64) if self.row is None else self.row

    def take(self, rows: NDArray[np.int64]) -> Interactions:
        """The interactions at some rows."""
        history = None if self.history is None else self.history.take(rows)
        return Interactions(
            self.user[rows], self.item[rows], self.label[rows], self.timestamp[rows], history, self.rows[rows]
        )

    def counts_by_item(self, num_items: int) -> NDArray[np.int64]:
        """How often each item index occurs, [num_items]."""
        return np.bincount(self.item, minlength=num_items).astype(np.int64)

    def counts_by_user(self, num_users: int) -> NDArray[np.int64]:
        """How often each user index occurs, [num_users]."""
        return np.bincount(self.user, minlength=num_users).astype(np.int64)
