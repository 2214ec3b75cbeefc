"""Ratios: is a latency or a peak of memory larger than before, beyond what repetitions make of it?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmrec_peft.benchmark.costs import CUDA, RSS, at, training_peak
from llmrec_peft.benchmark.grouping import Group
from llmrec_peft.benchmark.noise import over_runs
from llmrec_peft.benchmark.rows import Row

LATENCY_FLOOR, MEMORY_FLOOR = 0.10, 0.05
"""Relative differences below which nothing counts: two processes on the same machine differ by as much."""
_EARLIER = {"new_text": "new text", "known_pairs": "known pairs"}
"""Latencies of reports from before ``latency_ms``."""
_MEMORY = "peak_memory_mb"
_NORMAL_95 = 1.96
_MEDIAN_OVER_MEAN = 1.2533
"""Standard error of a median over that of a mean, of normal values."""
_P95_IN_DEVIATIONS = 1.645


@dataclass(frozen=True)
class Ratio:
    """A cost of two results.

    Attributes:
        what: The cost, with its unit.
        first: Mean over the runs of the first result.
        second: Mean over those of the second.
        bound: Relative difference that counts as noise, such as 0.1.
        how: Where the bound comes from.
    """

    what: str
    first: float
    second: float
    bound: float
    how: str

    @property
    def value(self) -> float:
        """Return the second over the first."""
        return self.second / self.first

    @property
    def verdict(self) -> str:
        """Return ``regression``, ``improvement`` or ``noise``."""
        if self.value > 1.0 + self.bound:
            return "regression"
        return "improvement" if self.value < 1.0 / (1.0 + self.bound) else "noise"


def ratios(first: Group, second: Group) -> Iterator[Ratio]:
    """Yield the ratio of each latency and peak that both groups have."""
    for path, what in _costs([*first.rows, *second.rows]):
        values = [[value for row in group.rows if (value := _read(row, path))] for group in (first, second)]
        if all(values):
            floor = MEMORY_FLOOR if path[0] == _MEMORY else LATENCY_FLOOR
            errors = [[_error(row, path) for row in group.rows] for group in (first, second)]
            bound, how = _bound(values, errors, floor)
            yield Ratio(what, statistics.mean(values[0]), statistics.mean(values[1]), bound, how)


def _costs(rows: Sequence[Row]) -> list[tuple[tuple[str, ...], str]]:
    """Return the places of medians and peaks in rows, with their names for people."""
    timed = dict.fromkeys(asked for row in rows for asked in row.get("latency_ms", {}))
    return [
        *((("latency_ms", asked, "p50"), f"{asked}, ms p50") for asked in timed),
        *((("answers", asked, "p50_ms"), f"{words}, ms p50") for asked, words in _EARLIER.items() if not timed),
        (("steps", "step", "p50_ms"), "training step, ms p50"),
        ((_MEMORY, "rss"), RSS.label),
        ((_MEMORY, "cuda"), CUDA.label),
    ]


def _read(row: Row, path: Sequence[str]) -> float | None:
    """Return a cost at its place; of memory that of training, which rows of all versions have."""
    return training_peak(row, path[1]) if path[0] == _MEMORY else at(row, *path)


def _bound(values: Sequence[Sequence[float]], errors: Sequence[Sequence[float]], floor: float) -> tuple[float, str]:
    """Return the relative difference that counts as noise: that between runs, or of repetitions, or the floor."""
    if all(len(side) > 1 for side in values):
        logs = [{str(run): math.log(value) for run, value in enumerate(side)} for side in values]
        apart = over_runs(logs[0], logs[1], same_data=True)
        bound = 0.0 if apart.high is None else math.exp(apart.high - apart.value) - 1.0
        how = "spread over runs"
    else:
        bound = _NORMAL_95 * math.sqrt(sum(max(side, default=0.0) ** 2 for side in errors))
        how = "repetitions in a run"
    return (bound, how) if bound > floor else (floor, "the least that counts")


def _error(row: Row, path: tuple[str, ...]) -> float:
    """Return the relative standard error of a median, from its distance to the 95th percentile; 0 for a peak."""
    unit = path[-1].removeprefix("p50")
    median, high, n = (at(row, *path[:-1], name) for name in (path[-1], f"p95{unit}", "n"))
    if path[0] == _MEMORY or not median or high is None or not n:
        return 0.0
    return _MEDIAN_OVER_MEAN * max(0.0, high - median) / _P95_IN_DEVIATIONS / median / math.sqrt(n)
