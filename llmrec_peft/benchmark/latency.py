"""Latency: how long a call takes, called again and again in a loop of its own, and what is said of many calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

LEAST = 5
"""Repetitions that are always made, unless already the first call takes all of the time."""
WARM_UP = 3
"""Calls that are not counted: the first ones fill caches and allocate memory."""


def repeated(
    work: Callable[[], object], most: int, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Call a function again and again and return how long each call took, in milliseconds.

    Args:
        work: The function; it waits until its result is there.
        most: Calls at most, those of the warm-up not counted.
        seconds: Time after which no further call begins; five calls are made all the same. Where the first call alone
            takes longer, it is the only one.
        clock: Seconds on a clock that never goes back.
    """
    began = clock()
    work()
    first = clock() - began
    if first > seconds:
        return [1000.0 * first]
    for _ in range(WARM_UP - 1):
        work()
    taken: list[float] = []
    began = clock()
    while len(taken) < most and (len(taken) < LEAST or clock() - began <= seconds):
        started = clock()
        work()
        taken.append(1000.0 * (clock() - started))
    return taken


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return ``p50``, ``p95`` and ``p99`` of some calls in milliseconds, and their number ``n``.

    Between two calls the percentile is interpolated, so that ``p99`` of few calls is close to the slowest one.

    >>> percentiles([4.0, 1.0, 3.0, 2.0, 5.0])
    {'p50': 3.0, 'p95': 4.8, 'p99': 4.96, 'n': 5}
    """
    found = np.percentile(milliseconds, [50, 95, 99])
    named = {name: round(float(value), 3) for name, value in zip(("p50", "p95", "p99"), found, strict=True)}
    return {**named, "n": len(milliseconds)}


def finish_queue() -> None:
    """Wait for the accelerator, which computes asynchronously."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
