"""Ways of doing the same thing, timed in turns, so that whatever else the machine does slows all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

Ways = Mapping[str, Callable[[], object]]


def in_turns(ways: Ways, base: str, seconds: float, least: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Call each way once a round and compare it with `base` round by round.

    A round begins one way later than the one before it, and every other one runs backwards.

    Args:
        ways: What is timed, by name.
        base: The way that the others are divided by.
        seconds: How long to go on, in seconds of the wall.
        least: Rounds at least.
        clock: Seconds that a call took are the difference of two of its readings.

    Returns:
        For each way ``ms``, the median of its milliseconds, and ``ratio``, the median over rounds of its time divided
        by the base's in the same round, with ``low`` and ``high``, its 95 % confidence limits by order statistics.
    """
    for way in ways.values():
        way()
        way()
    names = list(ways)
    found: dict[str, list[float]] = {name: [] for name in names}
    end, rounds = time.monotonic() + seconds, 0
    gc.collect()
    gc.disable()
    try:
        while rounds < least or time.monotonic() < end:
            first = rounds % len(names)
            order = names[first:] + names[:first]
            for name in order if rounds % 2 == 0 else reversed(order):
                started = clock()
                ways[name]()
                found[name].append(clock() - started)
            rounds += 1
            if rounds % 16 == 0:
                gc.collect()
    finally:
        gc.enable()
    return {"rounds": rounds} | {name: _compared(found[name], found[base]) for name in names}


def _compared(own: list[float], base: list[float]) -> dict[str, float]:
    ratios = sorted(one / other for one, other in zip(own, base, strict=True))
    half = 0.98 * len(ratios) ** 0.5  # of a median's rank: 1.96 standard deviations of a binomial
    low, high = max(0, int(len(ratios) / 2 - half)), min(len(ratios) - 1, int(len(ratios) / 2 + half))
    return {
        "ms": round(1000.0 * statistics.median(own), 2),
        "ratio": round(statistics.median(ratios), 4),
        "low": round(ratios[low], 4),
        "high": round(ratios[high], 4),
    }
