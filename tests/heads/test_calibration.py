"""Calibration against scikit-learn, on scores that say too much, that tie, and that say nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from llmrec_peft.evaluation.click_metrics import auc, ece, log_loss
from llmrec_peft.heads.calibration import KNOTS, Calibration, apply, fitted, parameters

SEEDS = range(2)
KINDS: tuple[Calibration, ...] = ("platt", "isotonic")


def miscalibrated(seed: int, rows: int = 4000, slope: float = 0.5, intercept: float = -0.7) -> tuple[np.ndarray, ...]:
    """Logits three times too large and shifted, in single precision as heads have them, and what came of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.3, 1.8, rows).astype(np.float32)
    return x, (rng.random(rows) < expit(slope * x + intercept)).astype(np.float64)


def calibrated(kind: Calibration, x: np.ndarray, y: np.ndarray, asked: np.ndarray | None = None) -> np.ndarray:
    tensors = {name: torch.from_numpy(value) for name, value in fitted(kind, expit(x), y).items()}
    return apply(kind, tensors, torch.from_numpy(x if asked is None else asked)).numpy()


@pytest.mark.parametrize("seed", SEEDS)
def test_platt_is_the_logistic_regression_of_smoothed_targets(seed: int) -> None:
    x, y = miscalibrated(seed)
    positives, negatives = y.sum(), len(y) - y.sum()
    share = np.where(y > 0.5, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    twice = np.concatenate([x, x])[:, None]
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
    model.fit(twice, np.repeat([1, 0], len(y)), sample_weight=np.concatenate([share, 1 - share]))
    found = fitted("platt", expit(x.astype(np.float64)), y)
    assert found["slope"][0] == pytest.approx(float(model.coef_[0, 0]), rel=1e-3)
    assert found["intercept"][0] == pytest.approx(float(model.intercept_[0]), abs=2e-3)
    assert found["slope"][0] == pytest.approx(0.5, abs=0.06)
    reference = model.predict_proba(x[:, None])[:, 1]
    np.testing.assert_allclose(calibrated("platt", x, y), reference, atol=1e-3)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_isotonic_is_that_of_scikit_learn(seed: int, ties: bool) -> None:
    """As many distinct scores as there are knots at most: nothing is lost between them."""
    x, y = miscalibrated(seed, 1200 if ties else 60)
    if ties:
        x = np.round(x, 0)
    assert len(np.unique(x)) <= KNOTS
    reference = IsotonicRegression().fit(x, y)
    asked = np.unique(x)
    expected = np.clip(reference.predict(asked), 0.5 / len(y), 1 - 0.5 / len(y))
    np.testing.assert_allclose(calibrated("isotonic", x, y, asked), expected, atol=2e-4)


def test_isotonic_of_more_scores_than_knots_follows_the_curve() -> None:
    x, y = miscalibrated(0, 20_000)
    reference = IsotonicRegression(out_of_bounds="clip").fit(x, y)
    inside = np.quantile(x, np.linspace(0.02, 0.98, 500)).astype(np.float32)
    assert np.abs(calibrated("isotonic", x, y, inside) - reference.predict(inside)).mean() < 0.01


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_order_stays_so_auc_does_and_probabilities_become_true(kind: Calibration, seed: int) -> None:
    x, y = miscalibrated(seed)
    fresh_x, fresh_y = miscalibrated(seed + 100)
    before, after = expit(fresh_x), calibrated(kind, x, y, fresh_x)
    assert auc(after, fresh_y) == pytest.approx(auc(before, fresh_y), abs=5e-5)
    assert np.all(np.diff(after[np.argsort(fresh_x)]) >= 0)
    assert ece(after, fresh_y) < 0.3 * ece(before, fresh_y)
    assert ece(before, fresh_y) > 0.1
    assert log_loss(after, fresh_y) < log_loss(before, fresh_y)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_keep_their_places_also_beyond_what_was_seen(kind: Calibration) -> None:
    x, y = miscalibrated(0)
    asked = np.linspace(-5, 5, 41).astype(np.float32)  # steps that single precision can tell apart
    steps = np.diff(calibrated(kind, x, y, asked))
    assert np.all(steps > 0), "rising everywhere, on flat pieces of a curve and beyond its ends too"
    extreme = calibrated(kind, x, y, np.array([-80.0, 80.0], np.float32))
    assert np.isfinite(extreme).all()
    assert extreme.min() >= 0.0
    assert extreme.max() <= 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_order_is_never_turned_round_even_where_labels_are(kind: Calibration) -> None:
    x, y = miscalibrated(1)
    after = calibrated(kind, x, 1.0 - (y > 0.5) * (x > 0))
    assert np.all(np.diff(after[np.argsort(x)]) >= 0)


@pytest.mark.parametrize("kind", KINDS)
def test_one_class_and_one_score_give_probabilities_short_of_certain(kind: Calibration) -> None:
    x = np.linspace(-2, 2, 50).astype(np.float32)
    for y in (np.zeros(50), np.ones(50)):
        found = calibrated(kind, x, y)
        assert np.isfinite(found).all()
        assert found.min() > 0.0
        assert found.max() < 1.0
        assert abs(found.mean() - y[0]) < 0.1
    same = np.full(200, 0.4, np.float32)
    share = calibrated(kind, same, np.repeat([1.0, 0.0], [60, 140]))
    assert share == pytest.approx(np.full(200, 0.3), abs=0.01)


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_calibrator_that_was_not_fitted_changes_nothing_and_asks_for_no_gradient(kind: Calibration) -> None:
    tensors = parameters(kind)
    x = torch.linspace(-8, 8, 400)
    torch.testing.assert_close(apply(kind, tensors, x), torch.sigmoid(x), rtol=0, atol=2e-3)
    assert not any(parameter.requires_grad for parameter in tensors.parameters())
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    if kind != "none":
        probability = np.array([0.2, 0.6, 0.9], np.float32)
        found = fitted(kind, probability, np.array([0.0, 1.0, 1.0]))
        assert {name: value.shape for name, value in found.items()} == shapes, "what is fitted fits into what is saved"
        assert all(value.dtype == np.float32 for value in found.values())


def test_certain_probabilities_are_taken_as_nearly_certain() -> None:
    found = fitted("platt", np.array([0.0, 0.0, 1.0, 1.0, 0.5]), np.array([0.0, 0.0, 1.0, 1.0, 1.0]))
    assert all(np.isfinite(value).all() for value in found.values())
