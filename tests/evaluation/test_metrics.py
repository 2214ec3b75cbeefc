"""Metrics against scikit-learn and torchmetrics, their `evaluate` faces, and slices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchmetrics
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from llmrec_peft.evaluation.metrics import RATING_METRICS, mae, rating_report, rmse
from llmrec_peft.evaluation.slices import item_slices

SEEDS = range(8)


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


def test_faces_combine_and_collect_batches_offline(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = pytest.importorskip("evaluate")

    def refused(*arguments: object) -> None:
        raise AssertionError("a metric asked the network")

    monkeypatch.setattr("socket.socket.connect", refused)
    from llmrec_peft.evaluation.faces import Mae, Rmse

    cache = str(tmp_path_factory.mktemp("metrics"))
    combined = evaluate.combine([Rmse(cache_dir=cache), Mae(cache_dir=cache)])
    predicted, observed = ratings(1)
    for at in range(0, len(predicted), 7):
        combined.add_batch(predictions=predicted[at : at + 7], references=observed[at : at + 7])
    assert combined.compute() == pytest.approx(rating_report(predicted, observed), abs=1e-6)
    alone = Rmse(cache_dir=cache).compute(predictions=predicted, references=observed)
    assert alone == pytest.approx({"rmse": rmse(predicted, observed)}, abs=1e-6)


def test_slices_part_ratings_by_how_often_training_saw_their_item() -> None:
    counts = np.array([0, 0, 1, 5, 6, 40])
    rng = np.random.default_rng(0)
    item = rng.integers(1, 6, 200)
    observed, predicted = rng.integers(1, 6, 200).astype(float), rng.uniform(1, 5, 200)
    report = item_slices({"after": predicted}, observed, item, counts)
    for name, items in {
        "items_with_0_ratings": [1],
        "items_with_1_to_5_ratings": [2, 3],
        "items_with_over_5_ratings": [4, 5],
    }.items():
        inside = np.isin(item, items)
        assert report[name]["n"] == inside.sum()
        assert report[name]["after"] == rating_report(predicted[inside], observed[inside])
    assert sum(int(row["n"]) for row in report.values()) == 200  # type: ignore[call-overload]


def test_empty_slice_has_no_figures() -> None:
    report = item_slices({"after": np.ones(2)}, np.ones(2), np.array([1, 1]), np.array([0, 9]))
    assert report["items_with_0_ratings"] == {"n": 0}
    assert report["items_with_over_5_ratings"] == {"n": 2, "after": {"rmse": 0.0, "mae": 0.0}}
