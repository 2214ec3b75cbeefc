"""Baselines against independent formulas, and on data whose structure is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.rating import (
    bias_model,
    biased_mf,
    global_mean,
    item_mean,
    rating_baselines,
    user_mean,
)
from llmrec_peft.evaluation.rating_metrics import rmse

USERS, ITEMS = 31, 26


def ratings(seed: int, rows: int = 300, users: int = USERS, items: int = ITEMS) -> Interactions:
    """Random ratings; user 0 and item 0 (unknown) and the highest ids never occur."""
    rng = np.random.default_rng(seed)
    return Interactions(
        user=rng.integers(1, users - 1, rows),
        item=rng.integers(1, items - 1, rows),
        label=rng.integers(1, 6, rows).astype(np.float32),
        timestamp=np.arange(rows),
    )


EVERY_USER, EVERY_ITEM = (side.ravel() for side in np.meshgrid(np.arange(USERS), np.arange(ITEMS)))


def low_rank(seed: int, rank: int = 3, users: int = 120, items: int = 90) -> tuple[Interactions, ...]:
    """Training, validation and test ratings of a biased low-rank matrix with a little noise."""
    rng = np.random.default_rng(seed)
    user, item = rng.normal(0, 0.9, (users, rank)), rng.normal(0, 0.9, (items, rank))
    matrix = 3 + rng.normal(0, 0.3, (users, 1)) + rng.normal(0, 0.3, (1, items)) + user @ item.T
    cells = rng.permutation((users - 1) * (items - 1))[:6000]
    u, i = cells // (items - 1) + 1, cells % (items - 1) + 1
    label = (matrix[u, i] + rng.normal(0, 0.1, len(cells))).astype(np.float32)
    whole = Interactions(u, i, label, np.arange(len(cells)))
    return tuple(whole.take(np.arange(*part)) for part in ((0, 4000), (4000, 5000), (5000, 6000)))


@pytest.mark.parametrize("seed", range(2))
def test_means_are_means(seed: int) -> None:
    train = ratings(seed)
    everywhere = float(np.mean(train.label))
    of_user, of_item = user_mean(train, USERS, ITEMS), item_mean(train, USERS, ITEMS)
    assert np.allclose(global_mean(train, USERS, ITEMS)(EVERY_USER, EVERY_ITEM), everywhere)
    for user in range(USERS):
        own = train.label[train.user == user]
        expected = np.mean(own) if len(own) else everywhere
        assert of_user(np.array([user]), np.array([1]))[0] == pytest.approx(expected, abs=1e-6)
    for item in range(ITEMS):
        own = train.label[train.item == item]
        expected = np.mean(own) if len(own) else everywhere
        assert of_item(np.array([1]), np.array([item]))[0] == pytest.approx(expected, abs=1e-6)


def ridge(train: Interactions, shrink: float) -> np.ndarray:
    """Predictions of scikit-learn's ridge on one-hot users and items, for every pair."""

    def design(user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return np.concatenate([np.eye(USERS)[user], np.eye(ITEMS)[item]], 1)

    mean = float(train.label.mean())
    model = Ridge(alpha=shrink, fit_intercept=False, solver="cholesky", tol=1e-12)
    model.fit(design(train.user, train.item), train.label.astype(np.float64) - mean)
    return mean + model.predict(design(EVERY_USER, EVERY_ITEM))


@pytest.mark.parametrize("shrink", [1.0, 5.0, 20.0])
@pytest.mark.parametrize("seed", range(2))
def test_bias_model_is_the_ridge_on_one_hot_users_and_items(seed: int, shrink: float) -> None:
    train = ratings(seed)
    converged = bias_model(train, USERS, ITEMS, shrink, rounds=500)(EVERY_USER, EVERY_ITEM)
    assert np.allclose(converged, ridge(train, shrink), atol=1e-8)
    usual = bias_model(train, USERS, ITEMS, shrink)(EVERY_USER, EVERY_ITEM)
    assert np.abs(usual - converged).max() < 0.02, "the usual number of rounds is enough"


def test_factorization_beats_biases_on_low_rank_data_and_comes_near_the_noise() -> None:
    train, _, test = low_rank(0)
    bias = bias_model(train, 120, 90, 1.0)(test.user, test.item)
    factors = biased_mf(train, 120, 90, rank=4, ridge=0.3, rounds=20)(test.user, test.item)
    assert rmse(factors, test.label) < 0.35 * rmse(bias, test.label)
    assert rmse(factors, test.label) < 0.45


def test_factorization_knows_no_more_than_biases_of_what_it_never_saw() -> None:
    train = ratings(0)
    predict = biased_mf(train, USERS, ITEMS, rank=4, ridge=3.0)
    unseen = predict(np.array([0, USERS - 1]), np.array([0, ITEMS - 1]))
    assert np.allclose(unseen, train.label.mean())
    known_user = predict(np.array([5, 5]), np.array([0, ITEMS - 1]))
    assert known_user[0] == pytest.approx(known_user[1])


def test_every_baseline_is_tuned_on_validation_alone_and_clamped() -> None:
    train, valid, test = low_rank(1)
    fit = Interactions(
        *(np.concatenate([getattr(part, name) for part in (train, valid)]) for name in ("user", "item", "label")),
        timestamp=np.arange(len(train) + len(valid)),
    )
    found = {b.name: b for b in rating_baselines(train, valid, fit, test, 120, 90, (1.0, 5.0))}
    assert list(found) == ["global_mean", "user_mean", "item_mean", "bias", "biased_mf"]
    for baseline in found.values():
        for predicted in (baseline.valid, baseline.test):
            assert predicted.min() >= 1.0
            assert predicted.max() <= 5.0
    for shrink in (1.0, 2.0, 5.0, 10.0, 20.0):
        other = np.clip(bias_model(train, 120, 90, shrink)(valid.user, valid.item), 1.0, 5.0)
        assert rmse(found["bias"].valid, valid.label) <= rmse(other, valid.label) + 1e-9
    chosen = found["bias"].settings["shrink"]
    refitted = np.clip(bias_model(fit, 120, 90, chosen)(test.user, test.item), 1.0, 5.0)
    assert np.allclose(found["bias"].test, refitted), "the test part is predicted from train and validation"
    assert rmse(found["biased_mf"].test, test.label) < rmse(found["bias"].test, test.label)


def test_test_ratings_are_never_read() -> None:
    train, valid, test = low_rank(2)
    blind = Interactions(test.user, test.item, np.full(len(test), np.nan, np.float32), test.timestamp)
    for seen, unseen in zip(
        rating_baselines(train, valid, train, test, 120, 90, (1.0, 5.0)),
        rating_baselines(train, valid, train, blind, 120, 90, (1.0, 5.0)),
        strict=True,
    ):
        assert np.array_equal(seen.test, unseen.test)
