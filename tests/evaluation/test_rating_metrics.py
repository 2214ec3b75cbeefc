"""Rating metrics against scikit-learn and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchmetrics
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from llmrec_peft.evaluation.rating_metrics import RATING_METRICS, mae, rating_report, rmse

SEEDS = range(2)


def ratings(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and ratings on a scale of five, so that many tie and some errors are zero."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 400))
    predicted = np.round(rng.uniform(1, 5, size) * 2) / 2
    return predicted.astype(np.float32), rng.integers(1, 6, size).astype(np.float32)


@pytest.mark.parametrize("seed", SEEDS)
def test_metrics_agree_with_scikit_learn(seed: int) -> None:
    predicted, observed = ratings(seed)
    assert rmse(predicted, observed) == pytest.approx(root_mean_squared_error(observed, predicted), abs=1e-6)
    assert mae(predicted, observed) == pytest.approx(mean_absolute_error(observed, predicted), abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_metrics_agree_with_torchmetrics(seed: int) -> None:
    predicted, observed = ratings(seed)
    pair = torch.from_numpy(predicted), torch.from_numpy(observed)
    assert rmse(predicted, observed) == pytest.approx(
        torchmetrics.MeanSquaredError(squared=False)(*pair).item(), abs=1e-5
    )
    assert mae(predicted, observed) == pytest.approx(torchmetrics.MeanAbsoluteError()(*pair).item(), abs=1e-5)


def test_single_precision_predictions_are_summed_in_double() -> None:
    predicted = np.full(3_000_000, 1e-4, np.float32)
    assert rmse(predicted, np.zeros_like(predicted)) == pytest.approx(1e-4, rel=1e-6)


def test_report_holds_every_metric() -> None:
    predicted, observed = ratings(0)
    report = rating_report(predicted, observed)
    assert report == {name: metric(predicted, observed) for name, metric in RATING_METRICS.items()}
    assert set(report) == {"rmse", "mae"}
