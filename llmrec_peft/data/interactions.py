"""Interactions as numbered arrays: what training, baselines and metrics compute on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.dataset import RecDataset, arrow, numbered, numbers, places_of
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.order import entries, in_time
from llmrec_peft.data.vocabulary import Vocabulary

Number = TypeVar("Number", np.float32, np.int64)


@dataclass(frozen=True)
class Interactions:
    """Parallel arrays over n interactions.

    Attributes:
        user: User indices, int64 [n].
        item: Item indices, int64 [n].
        label: Ratings, clicks, or always 1 if only interactions are known, float32 [n].
        timestamp: Seconds (or any order), int64 [n].
        history: The user's history before each interaction; None if nothing reads it.
        row: Row of each interaction in the whole dataset, int64 [n]; None for the whole dataset.
        person: Number of the person of each interaction, int64 [n]; None where each user is one.
        impression: Number of the list of items that each was shown in, int64 [n]; None where no lists are known.
        confidence: How often or how long each happened, not negative, float32 [n]; None where it is not known.
        oneself: Index of the item that is the user himself, 0 for none, int64 [n]; None where items are no people.
        teacher: Raw score that a model is to keep to, float32 [n], NaN where none; None where it learns freely.
    """

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    label: NDArray[np.float32]
    timestamp: NDArray[np.int64]
    history: Histories | None = None
    row: NDArray[np.int64] | None = None
    person: NDArray[np.int64] | None = None
    impression: NDArray[np.int64] | None = None
    confidence: NDArray[np.float32] | None = None
    oneself: NDArray[np.int64] | None = None
    teacher: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, dataset: RecDataset, vocabulary: Vocabulary) -> Interactions:
        """Number a dataset's interactions."""
        return cls(
            user=numbered(dataset.interactions, "user_id", vocabulary.users),
            item=numbered(dataset.interactions, "item_id", vocabulary.items),
            label=_own(numbers(dataset.interactions, "rating"), np.float32),
            timestamp=_own(numbers(dataset.interactions, "timestamp"), np.int64),
            person=_distinct(dataset, "person"),
            impression=_distinct(dataset, "impression"),
            confidence=_confidence(dataset),
            oneself=numbered(dataset.interactions, "user_id", vocabulary.items) if dataset.items_are_users else None,
        )

    def __len__(self) -> int:
        return len(self.label)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row of each interaction in the whole dataset, [n]."""
        return np.arange(len(self), dtype=np.int64) if self.row is None else self.row

    def take(self, rows: NDArray[np.int64]) -> Interactions:
        """Return the interactions at some rows."""
        history = None if self.history is None else self.history.take(rows)
        return Interactions(
            self.user[rows],
            self.item[rows],
            self.label[rows],
            self.timestamp[rows],
            history,
            self.rows[rows],
            None if self.person is None else self.person[rows],
            None if self.impression is None else self.impression[rows],
            None if self.confidence is None else self.confidence[rows],
            None if self.oneself is None else self.oneself[rows],
            None if self.teacher is None else self.teacher[rows],
        )

    def newest(self, count: int) -> NDArray[np.int64]:
        """Return the rows of each user's newest interactions, at most `count` per user, in order."""
        order = in_time(self.user, self.timestamp)
        of_user = self.user[order]
        end = np.cumsum(np.bincount(of_user))[of_user] if len(order) else order
        return np.sort(order[end - np.arange(len(order)) <= count])

    def expanded(self, rows: NDArray[np.int64]) -> Interactions:
        """Return these interactions, followed by one for each entry with a known item in some rows' histories.

        The example of an entry has the record's user and time; its history is the record's other entries followed by
        the record's own item. Its confidence is 0: how often an entry happened is not known.

        Args:
            rows: Rows whose histories are expanded.
        """
        histories = self.history
        if histories is None:
            return self
        at, place = entries(histories.begin[rows], histories.end[rows])
        known = histories.item[place] > 0  # an unknown item cannot be predicted
        at, place = at[known], place[known]
        if not len(at):
            return self
        record = rows[at]
        begin, last = histories.begin[record], histories.end[record]
        lengths = last - begin  # an entry less, the record's own item more
        end = np.cumsum(lengths)
        example, chosen = entries(begin, last)
        chosen += chosen >= place[example]  # the entry itself is left out
        chosen[end - 1] = len(histories.item) + at  # the records' own items stand behind the storage
        storage_item = np.concatenate([histories.item, self.item[rows]])
        storage_label = np.concatenate([histories.label, self.label[rows]])
        new = Histories(storage_item[chosen], storage_label[chosen], end - lengths, end)
        return Interactions(
            np.concatenate([self.user, self.user[record]]),
            np.concatenate([self.item, histories.item[place]]),
            np.concatenate([self.label, histories.label[place]]),
            np.concatenate([self.timestamp, self.timestamp[record]]),
            replace(histories, time=None).joined(new),
            person=None if self.person is None else np.concatenate([self.person, self.person[record]]),
            impression=None if self.impression is None else np.concatenate([self.impression, self._new_lists(len(at))]),
            confidence=None
            if self.confidence is None
            else np.concatenate([self.confidence, np.zeros(len(at), np.float32)]),
            oneself=None if self.oneself is None else np.concatenate([self.oneself, self.oneself[record]]),
        )

    def _new_lists(self, count: int) -> NDArray[np.int64]:
        """Return numbers of impressions that are not in use, one for each of some examples that no list showed."""
        assert self.impression is not None  # noqa: S101 - asked for where there are some
        first = int(self.impression.max(initial=-1)) + 1
        return np.arange(first, first + count, dtype=np.int64)

    def counts_by_item(self, num_items: int) -> NDArray[np.int64]:
        """Return how often each item index occurs, [num_items]."""
        return np.bincount(self.item, minlength=num_items).astype(np.int64)

    def counts_by_user(self, num_users: int) -> NDArray[np.int64]:
        """Return how often each user index occurs, [num_users]."""
        return np.bincount(self.user, minlength=num_users).astype(np.int64)


def _own(values: NDArray[Any], dtype: type[Number]) -> NDArray[Number]:
    """Return numbers as an array that may be written to; Arrow's memory may not."""
    return np.array(values, dtype) if not values.flags.writeable else values.astype(dtype, copy=False)


def _confidence(dataset: RecDataset) -> NDArray[np.float32] | None:
    """Return the column `confidence` of interactions, float32 [n]; None without it."""
    if "confidence" not in dataset.interactions.column_names:
        return None
    return _own(numbers(dataset.interactions, "confidence"), np.float32)


def _distinct(dataset: RecDataset, name: str) -> NDArray[np.int64] | None:
    """Number the distinct texts of a column of interactions in their order, int64 [n]; None without the column."""
    if name not in dataset.interactions.column_names:
        return None
    from pyarrow import compute

    values = arrow(dataset.interactions).column(name)
    return places_of(values, sorted(compute.unique(values).to_pylist()), start=0)
