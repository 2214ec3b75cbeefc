"""BestItems: the items with the largest scores of each user, while scores come a few items at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ranked:
    """Items of one user, best first.

    Attributes:
        rows: Rows of the catalogue, int64 [n].
        scores: Their scores, float32 [n].
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


class BestItems:
    """The `k` best items so far of each user; equal scores in the order of rows.

    >>> found = BestItems(users=1, k=2)
    >>> found.add(0, np.array([[0.5, 0.1, 0.7]], np.float32), [np.array([2])])
    >>> found.add(3, np.array([[0.5, 0.9]], np.float32), [np.array([2])])
    >>> found.ranked()[0].rows.tolist()
    [4, 0]
    """

    def __init__(self, users: int, k: int) -> None:
        """Begin with none."""
        self._k = k
        self._found = [Ranked(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in range(users)]

    def add(self, at: int, scores: NDArray[np.float32], left_out: Sequence[NDArray[np.int64]]) -> None:
        """Take note of the scores of further items.

        Args:
            at: Row of the first of them, beyond all rows so far.
            scores: Finite scores, float32 [users, items].
            left_out: Rows that do not count, for each user.
        """
        least = np.array([one.scores[-1] if len(one.rows) == self._k else -np.inf for one in self._found], np.float32)
        hopeful = scores > least[:, None]  # equal ones come later than those found
        for user in np.flatnonzero(hopeful.any(1)).tolist():
            own = left_out[user] - at
            hopeful[user, own[(own >= 0) & (own < scores.shape[1])]] = False
            new = best(scores[user], hopeful[user], self._k)
            known = self._found[user]
            values, rows = np.concatenate([known.scores, scores[user, new]]), np.concatenate([known.rows, new + at])
            order = np.argsort(-values, kind="stable")[: self._k]
            self._found[user] = Ranked(rows[order], values[order])

    def ranked(self) -> list[Ranked]:
        """Return the best items of each user: `k`, or all that count."""
        return self._found


def best(keys: NDArray[np.floating] | NDArray[np.integer], allowed: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
    """Return the rows of the k largest keys among those allowed, largest first; equal keys in the order of rows.

    >>> best(np.array([1.0, 3.0, 3.0, 2.0]), np.array([True, True, True, True]), 2).tolist()
    [1, 2]
    """
    rows = np.flatnonzero(allowed)
    values = -keys[rows]
    if k < len(rows):
        last = np.partition(values, k - 1)[k - 1]
        if not np.isnan(last):  # NaN sorts last: then all keys are sorted
            kept = values <= last
            rows, values = rows[kept], values[kept]
    return rows[np.argsort(values, kind="stable")[:k]]
