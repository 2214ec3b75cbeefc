"""Entries of examples' histories, written out a bounded number at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions

ENTRIES = 1 << 20
"""Entries that are written out together: 8 MiB an array."""


@dataclass(frozen=True)
class Entries:
    """Entries of some examples' histories that have an item, oldest first.

    Attributes:
        row: Place of each entry's example among those asked for, int64 [m].
        item: Item index, int64 [m].
        label: Label, float64 [m].
    """

    row: NDArray[np.int64]
    item: NDArray[np.int64]
    label: NDArray[np.float64]


def histories_of(part: Interactions, newest: int | None = None) -> Histories:
    """Return a part's histories, empty ones where it has none.

    Args:
        part: Examples.
        newest: Entries of each history that are kept, the newest; all by default.
    """
    histories = Histories.empty(len(part)) if part.history is None else part.history
    return histories if newest is None else histories.newest(newest)


def entries_of(histories: Histories, rows: NDArray[np.int64]) -> Entries:
    """Write out the entries of some examples."""
    begin, lengths = histories.begin[rows], histories.lengths[rows]
    row = np.repeat(np.arange(len(rows)), lengths)
    place = np.arange(len(row)) + np.repeat(begin - (np.cumsum(lengths) - lengths), lengths)
    item = histories.item[place]
    known = item > 0
    return Entries(row[known], item[known], histories.label[place[known]].astype(np.float64))


def all_entries(histories: Histories, limit: int = ENTRIES) -> Iterator[tuple[NDArray[np.int64], Entries]]:
    """Yield rows of examples, in order, with their entries: each time at most `limit` of these, or one example's."""
    for rows in pieces(histories.lengths, limit):
        yield rows, entries_of(histories, rows)


def pieces(cost: NDArray[np.int64], limit: int) -> Iterator[NDArray[np.int64]]:
    """Divide rows into consecutive pieces whose costs sum to at most `limit`; a row that costs more is alone.

    >>> [piece.tolist() for piece in pieces(np.array([2, 2, 5, 0, 1]), 4)]
    [[0, 1], [2], [3, 4]]
    """
    ends, at = np.cumsum(cost), 0
    while at < len(cost):
        before = int(ends[at - 1]) if at else 0
        to = max(at + 1, int(np.searchsorted(ends, before + limit, side="right")))
        yield np.arange(at, to)
        at = to
