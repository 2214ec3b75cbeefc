"""Measures: compute each task's metrics, slices and paired differences from outcomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.click_metrics import click_report
from llmrec_peft.evaluation.impression_metrics import IMPRESSION_METRICS, Impressions, by_impression
from llmrec_peft.evaluation.outcomes import Outcome, Ranks
from llmrec_peft.evaluation.ranking_metrics import (
    gains_at_k,
    hit_rate_at_k,
    hits_at_k,
    ndcg_at_k,
    ranking_report,
    reciprocal_ranks,
)
from llmrec_peft.evaluation.rating_metrics import rating_report
from llmrec_peft.evaluation.weighted import (
    Figure,
    auc_figure,
    impression_figure,
    log_loss_figure,
    mae_figure,
    mean_figure,
    rmse_figure,
    user_auc_figure,
)

Observe = Callable[[NDArray[np.floating]], NDArray[np.floating]]
"""Maps labels to what a head's metrics read."""

Key = TypeVar("Key")
LOWER_IS_BETTER = frozenset({"rmse", "mae", "log_loss", "ece"})
"""Metrics of which lower values are better."""


class Measure(ABC):
    """Metrics of one task."""

    metrics: ClassVar[tuple[str, ...]]
    """Metrics that a report shows first."""

    @abstractmethod
    def report(self, outcome: Outcome, part: Interactions) -> dict[str, float]:
        """Compute all metrics of one outcome."""

    @abstractmethod
    def weighted(self, metric: str, outcome: Outcome, part: Interactions) -> Figure:
        """Return one metric as a function of each example's weight, for resampling."""

    @abstractmethod
    def take(self, outcome: Outcome, rows: NDArray[Any]) -> Outcome:
        """Return the outcome of some examples."""

    def clusters(self, metric: str, part: Interactions) -> dict[str, NDArray[np.int64]]:
        """Return, by name, the clusters that are resampled as a whole: items, and users or the persons behind them.

        Examples of one person have correlated errors. Where users are records of one person (`Interactions.person`),
        resampling users would therefore give too narrow intervals.
        """
        return {**_people(part), "by_item": part.item}


@dataclass(frozen=True)
class RatingMeasure(Measure):
    """Stars: RMSE and MAE."""

    metrics: ClassVar[tuple[str, ...]] = ("rmse", "mae")

    def report(self, outcome: Outcome, part: Interactions) -> dict[str, float]:
        """Compute RMSE and MAE."""
        return rating_report(_scores(outcome), part.label)

    def weighted(self, metric: str, outcome: Outcome, part: Interactions) -> Figure:
        """Return RMSE or MAE as a function of weights."""
        figures = {"rmse": rmse_figure, "mae": mae_figure}
        if metric not in figures:
            raise ValueError(f"{metric} cannot be resampled")
        return figures[metric](_scores(outcome), part.label)

    def take(self, outcome: Outcome, rows: NDArray[Any]) -> Outcome:
        """Return scores of some examples."""
        return np.asarray(_scores(outcome)[rows])


@dataclass(frozen=True)
class ClickMeasure(Measure):
    """Clicks: AUC, log-loss, AUC by user, calibration error; and, where lists of items were shown, their order.

    Attributes:
        observe: Maps labels to 1 and 0.
    """

    observe: Observe
    metrics: ClassVar[tuple[str, ...]] = ("auc", "log_loss", "uauc", "ece")

    def report(self, outcome: Outcome, part: Interactions) -> dict[str, float]:
        """Compute all of them, and the numbers of users and of impressions that are left out of means over them."""
        report = click_report(_scores(outcome), self.observe(part.label), part.user)
        lists = {} if part.impression is None else self._impressions(outcome, part).report()
        return {**lists, **report}

    def weighted(self, metric: str, outcome: Outcome, part: Interactions) -> Figure:
        """Return AUC, log-loss, AUC by user or a mean over impressions as a function of weights."""
        scores, observed = _scores(outcome), self.observe(part.label)
        if metric in IMPRESSION_METRICS:
            if part.impression is None:
                raise ValueError(f"{metric}: these data do not say which items were shown together")
            return impression_figure(self._impressions(outcome, part), metric, part.impression)
        if metric == "uauc":
            return user_auc_figure(scores, observed, part.user)
        figures = {"auc": auc_figure, "log_loss": log_loss_figure}
        if metric not in figures:
            raise ValueError(f"{metric} cannot be resampled")
        return figures[metric](scores, observed)

    def take(self, outcome: Outcome, rows: NDArray[Any]) -> Outcome:
        """Return scores of some examples."""
        return np.asarray(_scores(outcome)[rows])

    def clusters(self, metric: str, part: Interactions) -> dict[str, NDArray[np.int64]]:
        """Return users, or persons, only for means over users or over the impressions of a user."""
        return _people(part) if metric in ("uauc", *IMPRESSION_METRICS) else super().clusters(metric, part)

    def _impressions(self, outcome: Outcome, part: Interactions) -> Impressions:
        assert part.impression is not None  # noqa: S101 - whoever calls has looked
        return by_impression(_scores(outcome), self.observe(part.label), part.impression)


@dataclass(frozen=True)
class RankingMeasure(Measure):
    """Ranks in the whole catalogue: HR, NDCG, MRR, recall, coverage, novelty.

    Attributes:
        popularity: Training interactions of each item index, [num_items].
        k: Length of the lists.
    """

    popularity: NDArray[np.int64]
    k: int = 10
    metrics: ClassVar[tuple[str, ...]] = ("hr@10", "ndcg@10", "mrr", "recall@10", "coverage@10", "novelty@10")

    def report(self, outcome: Outcome, part: Interactions) -> dict[str, float]:
        """Compute all of them; metrics among sampled items, if asked for, say so in their names."""
        ranks = _ranks(outcome)
        num_items = len(self.popularity)
        report = ranking_report(ranks.rank, ranks.top, part.user, self.popularity, num_items, ks=(self.k,))
        if ranks.sampled is not None:
            report[f"sampled_hr@{self.k}"] = hit_rate_at_k(ranks.sampled, self.k)
            report[f"sampled_ndcg@{self.k}"] = ndcg_at_k(ranks.sampled, self.k)
        return report

    def weighted(self, metric: str, outcome: Outcome, part: Interactions) -> Figure:
        """Return a mean over examples (HR, NDCG, MRR), or over users (recall), as a function of weights."""
        rank = _ranks(outcome).rank
        gains = {
            f"hr@{self.k}": lambda: hits_at_k(rank, self.k),
            f"recall@{self.k}": lambda: hits_at_k(rank, self.k),
            f"ndcg@{self.k}": lambda: gains_at_k(rank, self.k),
            "mrr": lambda: reciprocal_ranks(rank),
        }
        if metric not in gains:
            raise ValueError(f"{metric} is no mean over examples: it cannot be resampled")
        if not metric.startswith("recall"):
            return mean_figure(gains[metric]())
        _, place, count = np.unique(part.user, return_inverse=True, return_counts=True)
        return mean_figure(gains[metric](), 1.0 / count[place])

    def take(self, outcome: Outcome, rows: NDArray[Any]) -> Outcome:
        """Return ranks of some examples."""
        return _ranks(outcome).take(rows)


def measure_of(task: str, observe: Observe, popularity: NDArray[np.int64]) -> Measure:
    """Return the measure of a head's task.

    Args:
        task: ``rating``, ``click`` or ``ranking``.
        observe: Maps labels to what the head's metrics read.
        popularity: Training interactions of each item index.
    """
    kinds: Mapping[str, Callable[[], Measure]] = {
        "rating": RatingMeasure,
        "click": lambda: ClickMeasure(observe),
        "ranking": lambda: RankingMeasure(popularity),
    }
    return kinds[task]()


def better(metric: str, first: float, second: float) -> bool:
    """Return whether the first value of a metric is better than the second."""
    return first < second if metric in LOWER_IS_BETTER else first > second


def best_of(figures: Mapping[Key, float], metric: str) -> Key:
    """Return the key of the best figure, the first of equals.

    Args:
        figures: Values of a metric, at least one.
        metric: The metric.

    >>> best_of({"mean": 1.0, "bias": 0.9, "both": 0.9}, "rmse")
    'bias'
    """
    best = next(iter(figures))
    for key, figure in figures.items():
        if better(metric, figure, figures[best]):
            best = key
    return best


def _people(part: Interactions) -> dict[str, NDArray[np.int64]]:
    return {"by_user": part.user} if part.person is None else {"by_person": part.person}


def _scores(outcome: Outcome) -> NDArray[np.floating]:
    if isinstance(outcome, Ranks):
        raise TypeError("ranks in the catalogue are not scores of pairs")
    return outcome


def _ranks(outcome: Outcome) -> Ranks:
    if not isinstance(outcome, Ranks):
        raise TypeError("scores of pairs are not ranks in the catalogue")
    return outcome
