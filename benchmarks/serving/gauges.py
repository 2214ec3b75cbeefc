"""Gauges: private memory of this process, quantiles, ratios in turns and slopes with their intervals."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_DIRTY = re.compile(r"^Private_Dirty:\s+(\d+) kB", re.MULTILINE)
DRAWS = 2_000
"""Resampled sets of rounds of an interval."""


def private_mb() -> float:
    """Return the memory that belongs to this process alone and is no copy of a file, in MB of 10^6 bytes.

    It is ``Private_Dirty`` of the kernel's summary: mapped files cost none of it as long as nobody writes into them.
    """
    gc.collect()
    return private_mb_of("self")


def private_mb_of(process: int | str) -> float:
    """Return the private memory of a process, by its number or as ``self``, in MB."""
    place = Path(f"/proc/{process}/smaps_rollup")
    found = _DIRTY.search(place.read_text(encoding="utf-8"))
    if found is None:
        raise RuntimeError(f"{place} names no Private_Dirty")
    return int(found[1]) * 1024 / 1e6


def quantiles(
    seconds: Sequence[float],
    names: Sequence[str] = ("median_ms", "p95_ms", "p99_ms", "max_ms"),
    shares: Sequence[float] = (0.5, 0.95, 0.99, 1.0),
) -> dict[str, float]:
    """Return quantiles of some times in milliseconds; by default the median, the 95th and 99th centile, the largest."""
    values = 1000 * np.quantile(np.asarray(seconds), shares)
    return dict(zip(names, np.round(values, 3).tolist(), strict=True))


def ratio(ours: Sequence[float], base: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """Return the median of the rounds' ratios and the interval that 95 % of resampled sets of rounds give."""
    by_round = np.asarray(ours, np.float64) / np.asarray(base, np.float64)
    draw = np.random.default_rng(seed)
    resampled = np.median(draw.choice(by_round, (DRAWS, len(by_round))), axis=1)
    low, high = np.quantile(resampled, (0.025, 0.975))
    return {"ratio": round(float(np.median(by_round)), 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def slope(at: Sequence[float], values: Sequence[float]) -> dict[str, Any]:
    """Return a line's slope by least squares with its 95 % interval (normal errors), and its value in the middle."""
    x, y = np.asarray(at, np.float64), np.asarray(values, np.float64)
    off = x - x.mean()
    steep = float(off @ y / (off @ off))
    left = y - y.mean() - steep * off
    error = float(np.sqrt(left @ left / max(1, len(x) - 2) / (off @ off)))
    return {"slope": steep, "interval": [steep - 1.96 * error, steep + 1.96 * error], "middle": float(y.mean())}


def load_of_machine() -> float:
    """Return the number of processes that wanted a core in the last minute, on average."""
    return round(os.getloadavg()[0], 2)
