"""Thin `evaluate.Metric` faces of our metrics: they combine, need no network, and compute in numpy."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from llmrec_peft.evaluation.metrics import RATING_METRICS


class _RatingMetric(evaluate.Metric):  # type: ignore[misc]
    metric: str

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": datasets.Value("float32"), "references": datasets.Value("float32")}
        return evaluate.MetricInfo(
            description=RATING_METRICS[self.metric].__doc__ or "",
            citation="",
            inputs_description="predictions and references: ratings",
            features=datasets.Features(features),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {self.metric: RATING_METRICS[self.metric](predictions, references)}


class Rmse(_RatingMetric):
    """Root mean squared error."""

    metric = "rmse"


class Mae(_RatingMetric):
    """Mean absolute error."""

    metric = "mae"
