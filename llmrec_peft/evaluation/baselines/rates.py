"""Rates: the share of positive labels of a user and of an item, over known labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Labels that are known of each of some keys, or before each of some examples.

    Attributes:
        count: Their number, float64 [a].
        total: Their sum, float64 [a].
    """

    count: Floats
    total: Floats

    @classmethod
    def by_key(cls, key: NDArray[np.int64], value: Floats, size: int) -> Counts:
        """Count values by key.

        Args:
            key: User or item of each value, [n].
            value: Labels or residuals, [n].
            size: Number of keys.
        """
        counts = np.bincount(key, minlength=size), np.bincount(key, value, size)
        return cls(*(array.astype(np.float64, copy=False) for array in counts))

    def plus(self, other: Counts) -> Counts:
        """Return both together."""
        return Counts(self.count + other.count, self.total + other.total)

    def rate(self, shrink: float, prior: Floats | float) -> Floats:
        """Return the mean label, shrunk towards a prior with the weight of `shrink` labels."""
        return (self.total + shrink * prior) / (self.count + shrink)

    def before(
        self, ask_key: NDArray[np.int64], ask_value: Floats, ask_time: NDArray[np.int64], in_time: bool
    ) -> Counts:
        """Return what is known of each asking example's key, with `in_time` also of those asked before its own time.

        Args:
            ask_key: User or item of the asking examples, [a].
            ask_value: Their labels or residuals, which only later examples read, [a].
            ask_time: Their times, [a].
            in_time: Whether asking examples become known after their own time.
        """
        count, total = self.count[ask_key], self.total[ask_key]
        if in_time and len(ask_key):
            order = np.lexsort((ask_time, ask_key))
            key, time, value = ask_key[order], ask_time[order], ask_value[order]
            new_key = np.append(True, key[1:] != key[:-1])
            new_moment = new_key | np.append(True, time[1:] != time[:-1])
            place = np.arange(len(order))
            begin = np.maximum.accumulate(np.where(new_key, place, 0))
            moment = np.maximum.accumulate(np.where(new_moment, place, 0))
            summed = np.concatenate([[0.0], np.cumsum(value)])
            count[order] += (moment - begin).astype(np.float64)
            total[order] += summed[moment] - summed[begin]
        return Counts(count, total)
