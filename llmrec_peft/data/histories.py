"""Histories: the interactions of each example's user before the example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.dataset import places_of
from llmrec_peft.data.order import Moments, entries

if TYPE_CHECKING:
    import pyarrow as pa

DAY = 86_400.0
"""Seconds of a day."""
_PIECE = 1 << 20
"""Entries or examples that are worked on together: 8 MiB a copy."""


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
        own = rows[self.holds(item, rows=rows)]
        if not len(own):
            return self, 0
        row, place = entries(self.begin[own], self.end[own])
        kept = self.item[place] != item[own[row]]
        place, lengths = place[kept], np.bincount(row[kept], minlength=len(own))
        begin, end = self.begin.copy(), self.end.copy()
        end[own] = len(self.item) + np.cumsum(lengths)
        begin[own] = end[own] - lengths
        stored = [np.concatenate([values, values[place]]) for values in (self.item, self.label)]
        time = None if self.time is None else np.concatenate([self.time, self.time[place]])
        return Histories(stored[0], stored[1], begin, end, time), len(own)

    def holds(
        self,
        item: NDArray[np.int64],
        named: NDArray[np.int64] | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> NDArray[np.bool_]:
        """Return whether histories contain their example's item, bool [r].

        The stored entries are sorted by item and place once: whether an item stands in a slice is then one search,
        however long the slice is.

        Args:
            item: One item per example, int64 [n].
            named: Number that each item index stands for, such as one for all items of one text; itself by default.
            rows: Examples that are asked about, int64 [r]; all by default.
        """
        rows = np.arange(len(self)) if rows is None else rows
        contained = np.zeros(len(rows), bool)
        first, last = int(self.begin[rows].min(initial=len(self.item))), int(self.end[rows].max(initial=0))
        if first >= last:
            return contained
        width = last - first + 1
        keys = np.full(width, np.iinfo(np.int64).max)
        for at in range(first, last, _PIECE):
            stored = self.item[at : min(last, at + _PIECE)]
            place = np.arange(at - first, at - first + len(stored))
            keys[place] = (stored if named is None else named[stored]) * width + place
        keys.sort()
        for at in range(0, len(rows), _PIECE):
            some = rows[at : at + _PIECE]
            own = item[some] if named is None else named[item[some]]
            sought = own * width + (self.begin[some] - first)
            order = np.argsort(sought)  # searches in order find what they need in the processor's caches
            some, sought = some[order], sought[order]
            found = keys[np.searchsorted(keys, sought)]
            contained[at + order] = found - sought < self.end[some] - self.begin[some]
        return contained

    def fingerprints(self, seed: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return one number for some histories, equal where entries (item and label) are the same in any order, [r].

        It is a sum of scrambled entries, taken from one running sum over the storage. Two other histories share it with
        a chance of 2⁻⁶⁴.

        Args:
            seed: Says how entries are scrambled.
            rows: Examples, int64 [r].
        """
        first, last = int(self.begin[rows].min(initial=len(self.item))), int(self.end[rows].max(initial=0))
        sums = np.zeros(max(0, last - first) + 1, np.uint64)
        for at in range(first, last, _PIECE):
            item, label = self.item[at : min(last, at + _PIECE)], self.label[at : min(last, at + _PIECE)]
            bits = (label + np.float32(0.0)).view(np.uint32)  # -0.0 is 0.0
            entry = _scrambled((item.astype(np.uint64) << np.uint64(32)) | bits, seed)
            sums[at - first + 1 : at - first + 1 + len(item)] = entry
        np.cumsum(sums, out=sums)
        found = np.empty(len(rows), np.int64)
        for at in range(0, len(rows), _PIECE):
            begin, end = self.begin[rows[at : at + _PIECE]] - first, self.end[rows[at : at + _PIECE]] - first
            found[at : at + _PIECE] = _scrambled(sums[end] - sums[begin], seed ^ 1).view(np.int64) + (end - begin)
        return found

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


def _scrambled(values: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Return values through the finalizer of SplitMix64 (Steele et al., OOPSLA 2014), which leaves no order in them."""
    mixed = values + np.uint64(seed)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed


Part = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows whose histories are wanted, and rows that may occur in them, each once."""


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
    return earlier_by_part(user, item, label, timestamp, [(asking, known)]).take(asking)


def earlier_by_part(
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    label: NDArray[np.float32],
    timestamp: NDArray[np.int64],
    parts: Sequence[Part],
) -> Histories:
    """Return each interaction's earlier ones of the same user, among those that its part may know.

    Args:
        user: User indices of all interactions, [n].
        item: Item indices, [n].
        label: Labels, [n].
        timestamp: Times, [n].
        parts: Rows of each part and what they may know; rows of no part have an empty history.

    Returns:
        Histories of all n interactions; what each part may know is stored once, in the order of the parts.
    """
    moments, size = Moments.of(user, timestamp), sum(len(known) for _, known in parts)
    stored = Histories(
        np.empty(size, np.int64),
        np.empty(size, np.float32),
        np.zeros(len(user), np.int64),
        np.zeros(len(user), np.int64),
        np.empty(size, np.int64),
    )
    assert stored.time is not None  # noqa: S101 - made above
    at = 0
    for asking, known in parts:
        rows, before = moments.among(known)
        span = slice(at, at + len(rows))
        for values, kept in ((item, stored.item), (label, stored.label), (timestamp, stored.time)):
            np.take(values, rows, out=kept[span], mode="clip")  # in place; rows are there, and `raise` would copy
        stored.begin[asking] = before[moments.begin[asking]]
        stored.end[asking] = before[moments.end[asking]]
        for bound in (stored.begin, stored.end):
            bound[asking] += at
        at += len(rows)
    return stored


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


def listed(items: pa.ChunkedArray, labels: pa.ChunkedArray, names: Sequence[str]) -> Histories:
    """Return histories from columns of lists, without a Python object for an entry.

    Args:
        items: Item ids of each record's history, oldest first.
        labels: Their labels.
        names: Known items, in the order of their indices from 1.
    """
    from pyarrow import compute

    lengths = compute.list_value_length(items).to_numpy().astype(np.int64)
    end = np.cumsum(lengths)
    label = compute.list_flatten(labels).to_numpy().astype(np.float32)
    return Histories(places_of(compute.list_flatten(items), names), label, end - lengths, end)
