"""Thin `evaluate.Metric` classes for our metrics: they combine, need no network, and compute in numpy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np

from llmrec_peft.evaluation import click_metrics, ranking_metrics
from llmrec_peft.evaluation.rating_metrics import RATING_METRICS

_NUMBER, _INDEX = datasets.Value("float64"), datasets.Value("int64")


class _Face(evaluate.Metric):  # type: ignore[misc]
    """A metric with named input columns; `compute` of several combined metrics passes all options to each."""

    inputs: ClassVar[str]
    columns: ClassVar[dict[str, Any]]

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description=self.inputs,
            features=datasets.Features(self.columns),
        )


class _RatingMetric(_Face):
    inputs = "predictions and references: ratings"
    columns: ClassVar = {"predictions": _NUMBER, "references": _NUMBER}
    metric: ClassVar[str]

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {self.metric: RATING_METRICS[self.metric](np.asarray(predictions), np.asarray(references))}


class Rmse(_RatingMetric):
    """Root mean squared error."""

    metric = "rmse"


class Mae(_RatingMetric):
    """Mean absolute error."""

    metric = "mae"


class _ClickMetric(_Face):
    inputs = "predictions: probabilities; references: 0 or 1"
    columns: ClassVar = {"predictions": _NUMBER, "references": _NUMBER}
    metric: ClassVar[str]

    def _compute(self, predictions: Any, references: Any, users: Any = None) -> dict[str, float]:
        column = (np.asarray(given) for given in (predictions, references, users))
        return {self.metric: click_metrics.CLICK_METRICS[self.metric](*column)}


class Auc(_ClickMetric):
    """Area under the ROC curve; `predictions` may be any scores."""

    metric = "auc"


class LogLoss(_ClickMetric):
    """Mean logarithmic loss."""

    metric = "log_loss"


class UserAuc(_ClickMetric):
    """Mean over users of AUC within a user's examples; `predictions` may be any scores."""

    inputs = "predictions: probabilities; references: 0 or 1; users: user indices"
    columns: ClassVar = {**_ClickMetric.columns, "users": _INDEX}
    metric = "uauc"


class Ece(_ClickMetric):
    """Expected calibration error over 15 bins of equal width."""

    metric = "ece"


class _RankingMetric(_Face, ABC):
    inputs = "predictions: scores of each case's candidates; references: the target's column; k: cutoff"
    columns: ClassVar = {"predictions": datasets.List(_NUMBER), "references": _INDEX}

    def _compute(self, predictions: Any, references: Any, k: int = 10) -> dict[str, float]:
        width = max(len(row) for row in predictions)
        scores, there = np.zeros((len(predictions), width)), np.zeros((len(predictions), width), bool)
        for at, row in enumerate(predictions):
            scores[at, : len(row)], there[at, : len(row)] = row, True
        return self._figure(ranking_metrics.target_rank(scores, np.asarray(references), there), k)

    @abstractmethod
    def _figure(self, rank: ranking_metrics.Floats, k: int) -> dict[str, float]:
        """Compute the metric, by name, from each case's rank."""


class HitRate(_RankingMetric):
    """Share of cases whose target is among the first k; ties count half."""

    def _figure(self, rank: ranking_metrics.Floats, k: int) -> dict[str, float]:
        return {f"hr@{k}": ranking_metrics.hit_rate_at_k(rank, k)}


class Ndcg(_RankingMetric):
    """Normalised discounted cumulative gain within the first k, one target a case; ties count half."""

    def _figure(self, rank: ranking_metrics.Floats, k: int) -> dict[str, float]:
        return {f"ndcg@{k}": ranking_metrics.ndcg_at_k(rank, k)}


class Mrr(_RankingMetric):
    """Mean reciprocal rank over all cases, without a cutoff; ties count half."""

    def _figure(self, rank: ranking_metrics.Floats, k: int) -> dict[str, float]:
        return {"mrr": ranking_metrics.mrr(rank)}
