"""Judge: figures of what folds predicted, and how much one model is better than another over whole users and items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.evaluation.measures import LOWER_IS_BETTER, Measure
from llmrec_peft.evaluation.weighted import Figure

if TYPE_CHECKING:
    from llmrec_peft.experiment.cross_validation import Folds

RESAMPLES = 400
"""Resamples of whole users, and of whole items, by which a difference's standard error is estimated."""


@dataclass(frozen=True)
class Difference:
    """How much a candidate is better than another over the folds' examples.

    Attributes:
        gain: The candidate's figure less the other's, its sign turned where lower is better.
        error: Standard error of it: the larger of that over users and that over items.
        low: Lower end of the wider of the two 95 % intervals.
        high: Its upper end.
    """

    gain: float
    error: float
    low: float
    high: float

    @property
    def exceeds_error(self) -> bool:
        """Return whether the gain is larger than one standard error."""
        return self.gain > self.error

    def plain(self) -> dict[str, float]:
        """Return the difference as plain values."""
        return {"gain": self.gain, "standard_error": self.error, "low": self.low, "high": self.high}


class Judge:
    """Figures and differences of predictions for the folds' examples."""

    def __init__(
        self,
        folds: Folds,
        measure: Measure,
        metric: str,
        span: tuple[float, float],
        task: str,
        observed: NDArray[np.floating],
    ) -> None:
        """Set what is compared.

        Args:
            folds: The folds and their examples.
            measure: How the head is measured.
            metric: Its primary metric.
            span: The owner's scale, to which stars are clamped.
            task: ``rating`` or ``click``.
            observed: Labels of the folds' examples as the head reads them, [examples].
        """
        self._folds, self._measure, self.metric, self.observed = folds, measure, metric, observed
        self._span, self._task = span, task
        self._sign = -1.0 if metric in LOWER_IS_BETTER else 1.0

    def rows(self, folds: Iterable[int]) -> NDArray[np.int64]:
        """Return which examples some folds predict."""
        bounds = self._folds.bounds
        return np.concatenate([np.arange(bounds[at], bounds[at + 1]) for at in folds])

    def figure(self, scores: NDArray[np.float64], folds: Sequence[int]) -> float:
        """Compute the primary metric of scores of some folds' examples."""
        return self._figure(scores, folds)(np.ones(len(scores)))

    def better(self, first: float, second: float) -> bool:
        """Return whether the first figure is better than the second."""
        return self._sign * (first - second) > 0.0

    def difference(self, first: NDArray[np.float64], second: NDArray[np.float64], folds: Sequence[int]) -> Difference:
        """Compute how much the first scores are better than the second over some folds' examples.

        Whole users, and whole items, are resampled; the wider of the two counts.
        """
        part = self._folds.asked.take(self.rows(folds))
        figures = [self._figure(scores, folds) for scores in (first, second)]
        even = np.ones(len(first))
        gain = self._sign * (figures[0](even) - figures[1](even))
        found = []
        for cluster in self._measure.clusters(self.metric, part).values():
            drawn = self._sign * _resampled(figures[0], figures[1], cluster)
            if len(drawn):
                found.append((float(drawn.std()), *np.quantile(drawn, [0.025, 0.975])))
        if not found:
            return Difference(gain, float("inf"), float("-inf"), float("inf"))
        error = max(one[0] for one in found)
        _, low, high = max(found, key=lambda one: one[2] - one[1])
        return Difference(gain, error, float(low), float(high))

    def _figure(self, scores: NDArray[np.float64], folds: Sequence[int]) -> Figure:
        """RMSE over all examples; AUC as the mean of the folds': each has a model and a base rate of its own."""
        asked = self._folds.asked
        if self._task == "rating":
            return self._measure.weighted(self.metric, np.clip(scores, *self._span), asked.take(self.rows(folds)))
        figures, at = [], 0
        for fold in folds:
            inside = self.rows([fold])
            part, rows = asked.take(inside), np.arange(at, at + len(inside))
            at += len(part)
            if len(np.unique(self.observed[inside])) > 1:
                figures.append((rows, self._measure.weighted(self.metric, scores[rows], part)))

        def mean(weights: NDArray[np.float64]) -> float:
            values = np.array([figure(weights[rows]) for rows, figure in figures])
            sizes = np.array([weights[rows].sum() for rows, _ in figures])
            there = ~np.isnan(values)
            return float((values * sizes)[there].sum() / sizes[there].sum()) if there.any() else float("nan")

        return mean


def _resampled(first: Figure, second: Figure, cluster: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return differences of two figures over resamples of whole clusters, those that are undefined left out."""
    names, place = np.unique(cluster, return_inverse=True)
    rng, found = np.random.default_rng(0), np.empty(RESAMPLES)
    for at in range(RESAMPLES):
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        weights = times.astype(np.float64)[place]
        found[at] = first(weights) - second(weights)
    return found[~np.isnan(found)]
