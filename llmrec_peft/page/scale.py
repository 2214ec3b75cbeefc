"""Scales of charts: from figures to places on paper, with round marks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_MARKS = 4
"""About how many marks an axis has."""

_LEAST = 1e-300
"""Least stretch of numbers that is drawn; below it quotients are no longer exact."""


@dataclass(frozen=True)
class Scale:
    """A stretch of numbers laid on a stretch of paper.

    Attributes:
        low: Number at `start`.
        high: Number at `end`.
        start: Place of `low`.
        end: Place of `high`.
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the place of a number."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)

    def marks(self) -> list[float]:
        """Return round numbers inside the stretch.

        >>> Scale(0.91, 1.08, 0.0, 100.0).marks()
        [0.95, 1.0, 1.05]
        """
        rough = (self.high - self.low) / _MARKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        first = math.ceil(self.low / step)
        found = (round((first + number) * step, 12) for number in range(2 * _MARKS + 2))
        return [mark for mark in found if mark <= self.high]


def scale_of(values: Iterable[float], start: float, end: float) -> Scale | None:
    """Return a scale that has room for some numbers; None where they are too large, or too close, to be drawn."""
    some = list(values)
    low, high = min(some, default=0.0), max(some, default=0.0)
    if low == high:
        low, high = low - max(abs(low), 1.0) / 10, high + max(abs(high), 1.0) / 10
    room = (high - low) * 0.06
    low, high = low - room, high + room
    apart = high - low > max(_LEAST, 1e-12 * max(abs(low), abs(high)))
    return Scale(low, high, start, end) if math.isfinite(high - low) and apart else None
