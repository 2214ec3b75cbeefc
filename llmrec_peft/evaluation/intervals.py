"""Paired intervals: is one model's error lower than another's on the same examples?"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PairedInterval:
    """Difference of two models' RMSE, first less second, with a 95 % bootstrap interval.

    Attributes:
        difference: Negative where the first model errs less.
        low: 2.5 % quantile over resamples.
        high: 97.5 % quantile.
        clusters: How many units were resampled.
    """

    difference: float
    low: float
    high: float
    clusters: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.high < 0.0 or self.low > 0.0

    def plain(self) -> dict[str, float | int | bool]:
        """As plain values."""
        return {**asdict(self), "excludes_zero": self.excludes_zero}


def paired_rmse_interval(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    observed: NDArray[np.floating],
    cluster: NDArray[np.int64],
    resamples: int,
    seed: int = 0,
) -> PairedInterval:
    """Bootstrap the difference in RMSE by resampling whole clusters (users, items, or single ratings).

    Ratings of one item err together, so resampling ratings one by one would promise too much where items
    are what is new.

    Args:
        first: Predictions of the first model, [n].
        second: Predictions of the second model, [n].
        observed: Ratings, [n].
        cluster: Cluster of each example, [n].
        resamples: Number of resamples, at least 1.
        seed: Seed of the resampling.

    References:
        Field and Welsh, Bootstrapping clustered data, JRSS B 69(3), 2007.
    """
    _, place = np.unique(cluster, return_inverse=True)
    clusters = int(place.max()) + 1
    sums = [np.bincount(place, (np.asarray(model, np.float64) - observed) ** 2, clusters) for model in (first, second)]
    count = np.bincount(place, minlength=clusters).astype(np.float64)
    rng = np.random.default_rng(seed)
    differences = np.empty(resamples)
    for index in range(resamples):
        weight = np.bincount(rng.integers(0, clusters, clusters), minlength=clusters)
        size = weight @ count
        differences[index] = np.sqrt(weight @ sums[0] / size) - np.sqrt(weight @ sums[1] / size)
    whole = float(np.sqrt(sums[0].sum() / count.sum()) - np.sqrt(sums[1].sum() / count.sum()))
    low, high = np.quantile(differences, [0.025, 0.975])
    return PairedInterval(whole, float(low), float(high), clusters)
