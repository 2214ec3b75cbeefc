"""Histories: the interactions of each example's user before the example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

DAY = 86_400.0
"""Seconds of a day."""
ENTRIES = 1 << 20
"""Entries of histories that are processed together: 8 MiB of indices."""


@dataclass(frozen=True)
class Histories:
    """Ragged histories of n examples over shared storage, oldest entry first.

    The history of example r is ``item[begin[r]:end[r]]``; several examples of one user can share a slice of the
    storage, so that a long sequence is stored once.

    Attributes:
        item: Item indices, int64 [m].
        label: Labels of those entries, float32 [m].
        begin: Where each example's history starts, int64 [n].
        end: Where it ends, int64 [n].
        time: Times of the entries, int64 [m], in the unit of the interactions; None if they are not known.
    """

    item: NDArray[np.int64]
    label: NDArray[np.float32]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    time: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.begin)

    @classmethod
    def empty(cls, count: int) -> Histories:
        """Return empty histories for some examples."""
        none = np.zeros(count, np.int64)
        return cls(np.empty(0, np.int64), np.empty(0, np.float32), none, none)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of entries of each history, [n]."""
        return self.end - self.begin

    def take(self, rows: NDArray[np.int64]) -> Histories:
        """Return the histories of some examples; the storage is shared."""
        return replace(self, begin=self.begin[rows], end=self.end[rows])

    def newest(self, length: int) -> Histories:
        """Return histories cut to their newest `length` entries."""
        return replace(self, begin=np.maximum(self.begin, self.end - length))

    def padded(self, length: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the newest entries as two arrays, padded on the left, so that the newest always stands last.

        Args:
            length: Columns; by default the longest history.

        Returns:
            Item indices, int64 [n, length], 0 for no entry, and labels, float32 [n, length].
        """
        at, there = self._places(length)
        if at.size == 0 or len(self.item) == 0:
            return np.zeros(at.shape, np.int64), np.zeros(at.shape, np.float32)
        return np.where(there, self.item[at], 0), np.where(there, self.label[at], np.float32(0.0))

    def without(self, item: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[Histories, int]:
        """Return histories without entries equal to the row's own item, in some rows, and the number of rows changed.

        Args:
            item: Item of each example, int64 [n].
            rows: Rows that are changed.
        """
        own = rows[self.take(rows).holds(item[rows])].tolist()
        places, begin, end = [np.arange(len(self.item))], self.begin.copy(), self.end.copy()
        at = len(self.item)
        for row in own:
            place = np.arange(self.begin[row], self.end[row])
            kept = place[self.item[place] != item[row]]
            places.append(kept)
            begin[row], end[row] = at, at + len(kept)
            at += len(kept)
        chosen = np.concatenate(places)
        time = None if self.time is None else self.time[chosen]
        return Histories(self.item[chosen], self.label[chosen], begin, end, time), len(own)

    def holds(self, item: NDArray[np.int64], named: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """Return whether each history contains its example's item, bool [n].

        Args:
            item: One item per example, int64 [n].
            named: Number that each item index stands for, such as one for all items of one text; itself by default.
        """
        stored = self.item if named is None else named[self.item]
        contained, ends = np.zeros(len(self), bool), np.cumsum(self.lengths)
        at = 0
        while at < len(self):
            before = int(ends[at - 1]) if at else 0
            to = max(at + 1, int(np.searchsorted(ends, before + ENTRIES, side="right")))
            lengths = self.lengths[at:to]
            row = np.repeat(np.arange(at, to), lengths)
            place = np.arange(len(row)) + np.repeat(self.begin[at:to] - (np.cumsum(lengths) - lengths), lengths)
            contained[row[stored[place] == item[row]]] = True
            at = to
        return contained

    def ages(self, now: NDArray[np.int64], length: int | None = None) -> NDArray[np.float32] | None:
        """Return the days from each entry to a given time of its example, float32 [n, length], placed as in `padded`.

        Args:
            now: That time of each example, in seconds, [n].
            length: Columns; by default the longest history.

        Returns:
            None if times are not known; 0 for no entry.
        """
        if self.time is None:
            return None
        at, there = self._places(length)
        days = (now[:, None] - (self.time[at] if len(self.time) else at)) / DAY
        return np.where(there, days, 0.0).astype(np.float32)

    def _places(self, length: int | None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the storage places of the newest entries, padded on the left, and whether each exists."""
        width = int(self.lengths.max(initial=0)) if length is None else length
        at = self.end[:, None] - width + np.arange(width)[None, :]
        there = at >= self.begin[:, None]
        return np.where(there, at, 0), there

    def of(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return item indices and labels of one history."""
        span = slice(int(self.begin[row]), int(self.end[row]))
        return self.item[span], self.label[span]

    def joined(self, other: Histories) -> Histories:
        """Return these examples followed by another's, over one storage."""
        shift = len(self.item)
        return Histories(
            np.concatenate([self.item, other.item]),
            np.concatenate([self.label, other.label]),
            np.concatenate([self.begin, other.begin + shift]),
            np.concatenate([self.end, other.end + shift]),
            None if self.time is None or other.time is None else np.concatenate([self.time, other.time]),
        )


def earlier(
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    label: NDArray[np.float32],
    timestamp: NDArray[np.int64],
    asking: NDArray[np.int64],
    known: NDArray[np.int64],
) -> Histories:
    """Return each asking example's earlier interactions of the same user, among known interactions only.

    Interactions at the same time are left out, the example itself among them: their outcomes were not known at
    that time.

    Args:
        user: User indices of all interactions, [n].
        item: Item indices, [n].
        label: Labels, [n].
        timestamp: Times, [n].
        asking: Rows whose histories are wanted, [a].
        known: Rows that may occur in a history.

    Returns:
        Histories of the `asking` rows in their order.
    """
    order = known[np.lexsort((known, timestamp[known], user[known]))]
    moments = np.lexsort((timestamp, user))
    new = np.append(True, (np.diff(user[moments]) != 0) | (np.diff(timestamp[moments]) != 0))
    moment = np.empty(len(user), np.int64)  # number of each row's (user, time), in order
    moment[moments] = np.cumsum(new)
    end = np.searchsorted(moment[order], moment[asking])
    begin = np.searchsorted(user[order], user[asking])
    bounds = begin.astype(np.int64), end.astype(np.int64)
    return Histories(item[order], label[order].astype(np.float32), *bounds, timestamp[order])


def given(
    items: list[list[str]], labels: list[list[float]], numbered: Callable[[list[str]], NDArray[np.int64]]
) -> Histories:
    """Return histories as the owner gives them with each record.

    Args:
        items: Item ids of each record's history, oldest first.
        labels: Their labels.
        numbered: Returns the indices of item ids.
    """
    lengths = np.fromiter((len(row) for row in items), np.int64, len(items))
    end = np.cumsum(lengths).astype(np.int64)
    flat = numbered([item for row in items for item in row])
    return Histories(flat, np.asarray([v for row in labels for v in row], np.float32), end - lengths, end)
