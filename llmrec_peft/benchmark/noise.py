"""Noise: is a difference between the means of two groups of runs larger than what seeds make of it?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from llmrec_peft.evaluation.intervals import no_difference, wider

LEVEL = 0.975
"""Quantile of a two-sided 95 % interval."""
ONE_RUN = "one run a side: the noise is not known"


@dataclass(frozen=True)
class Difference:
    """A difference of two means, first less second.

    Attributes:
        value: The difference.
        low: Lower end of its 95 % interval; None where the noise is not known.
        high: Upper end.
        how: How the interval was computed, in words.
    """

    value: float
    low: float | None
    high: float | None
    how: str

    @property
    def separated(self) -> bool:
        """Whether the interval is known and leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0.0 or self.high < 0.0)

    @property
    def written(self) -> str:
        """The difference with its interval, for people.

        >>> Difference(-0.02, -0.03, -0.01, "by user").written, Difference(0.5, None, None, "").written
        ('-0.0200 [-0.0300, -0.0100] by user', '+0.5000')
        """
        if self.low is None or self.high is None:
            return f"{self.value:+.4f}" + (f" ({self.how})" if self.how else "")
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}] {self.how}"

    def plain(self) -> dict[str, float | str | None]:
        """Return plain values."""
        return {"difference": self.value, "low": self.low, "high": self.high, "how": self.how}


def to_quote(intervals: Mapping[str, Mapping[str, float]]) -> Difference:
    """Return the widest of a difference's intervals, or one that contains zero where the widest does not.

    >>> to_quote({"by_user": {"difference": 1.0, "low": 0.5, "high": 1.5}}).written
    '+1.0000 [+0.5000, +1.5000] by user'
    """
    unit = wider(intervals)
    if no_difference(intervals) and not intervals[unit]["low"] <= 0.0 <= intervals[unit]["high"]:
        unit = next(name for name, one in intervals.items() if one["low"] <= 0.0 <= one["high"])
    one = intervals[unit]
    return Difference(one["difference"], one["low"], one["high"], f"by {unit.removeprefix('by_')}")


def over_runs(first: Mapping[str, float], second: Mapping[str, float], same_data: bool) -> Difference:
    """Compare the means of two groups of runs.

    Runs that differ in their seeds alone are independent samples: Welch's t interval. Runs that stand for splits of the
    data share the noise of the split: the t interval of the differences split by split, where both have the same.

    Args:
        first: A figure of each run, by its seeds.
        second: The same of the other group; both have at least one run.
        same_data: Whether all runs of a group were trained and tested on the same data.

    References:
        Welch, The Generalization of Student's Problem, Biometrika 34, 1947.
    """
    value = statistics.mean(first.values()) - statistics.mean(second.values())
    if not same_data and first.keys() == second.keys():
        return paired_over_runs(first, second)
    sizes = [len(first), len(second)]
    if min(sizes) < 2:  # noqa: PLR2004 - a variance needs two
        return Difference(value, None, None, ONE_RUN)
    squares = [statistics.variance(side.values()) / len(side) for side in (first, second)]
    if sum(squares) == 0.0:
        return Difference(value, value, value, "Welch over seeds")
    freedom = sum(squares) ** 2 / sum(square**2 / (n - 1) for square, n in zip(squares, sizes, strict=True))
    half = _quantile(freedom) * math.sqrt(sum(squares))
    return Difference(value, value - half, value + half, "Welch over seeds")


def paired_over_runs(first: Mapping[str, float], second: Mapping[str, float]) -> Difference:
    """Return the mean of the differences run by run with its t interval.

    Args:
        first: A figure of each run, by its seeds.
        second: Another figure of the same runs, or of runs on the same splits.
    """
    differences = [first[run] - second[run] for run in first]
    value = statistics.mean(differences)
    if len(differences) == 1:
        return Difference(value, None, None, ONE_RUN)
    half = _quantile(len(differences) - 1) * statistics.stdev(differences) / math.sqrt(len(differences))
    return Difference(value, value - half, value + half, "paired by split")


def _quantile(freedom: float) -> float:
    from scipy.special import stdtrit  # not scipy.stats, which takes a second to import

    return float(stdtrit(freedom, LEVEL))
