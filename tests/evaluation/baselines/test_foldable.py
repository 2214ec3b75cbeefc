"""Foldable baselines: their tables are the rules they name, and their average predicts the average."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.average import averaged, likelihoods, weights_of
from llmrec_peft.evaluation.baselines.foldable import biases, foldable_baselines

USERS, ITEMS, ROWS = 9, 7, 60


def made_up(task: str = "rating", seed: int = 0) -> Interactions:
    """Labels of users 1 to 7 and items 1 to 5: user 8 and item 6 have none."""
    rng = np.random.default_rng(seed)
    label = rng.integers(1, 6, ROWS) if task == "rating" else rng.integers(0, 2, ROWS)
    user, item = rng.integers(1, USERS - 1, ROWS), rng.integers(1, ITEMS - 1, ROWS)
    return Interactions(user, item, label.astype(np.float32), np.arange(ROWS))


def test_biases_solve_the_ridge_regression_that_they_stand_for() -> None:
    train, user_shrink, item_shrink = made_up(), 5.0, 2.0
    of_user, of_item = biases(train, USERS, ITEMS, 3.0, user_shrink, item_shrink)
    design = np.zeros((ROWS, USERS + ITEMS))
    design[np.arange(ROWS), train.user] = design[np.arange(ROWS), USERS + train.item] = 1.0
    penalty = np.diag([user_shrink] * USERS + [item_shrink] * ITEMS)
    expected = np.linalg.solve(design.T @ design + penalty, design.T @ (train.label - 3.0))
    np.testing.assert_allclose(np.concatenate([of_user, of_item]), expected, atol=1e-3)


@pytest.mark.parametrize("task", ["rating", "click"])
def test_who_was_never_met_gets_the_mean(task: str) -> None:
    train = made_up(task)
    mean = float(train.label.mean()) if task == "rating" else float(logit(train.label.mean()))
    for baseline in foldable_baselines(task):
        tables = baseline.fit(train, USERS, ITEMS)
        for user, item in ((0, 0), (8, 6)):
            assert tables.predict(np.array([user]), np.array([item]))[0] == pytest.approx(mean), baseline.name
        assert np.isfinite(tables.predict(train.user, train.item)).all(), baseline.name


def test_a_user_rate_is_the_log_odds_of_the_shrunk_share() -> None:
    train = made_up("click")
    found = next(
        one for one in foldable_baselines("click") if one.name == "user_rate" and one.settings["shrink"] == 5.0
    )
    own = train.label[train.user == 3]
    expected = (own.sum() + 5.0 * train.label.mean()) / (len(own) + 5.0)
    assert found.fit(train, USERS, ITEMS).predict(np.array([3]), np.array([1]))[0] == pytest.approx(logit(expected))


@pytest.mark.parametrize("task", ["rating", "click"])
def test_an_average_predicts_the_average_of_its_baselines(task: str) -> None:
    train, baselines = made_up(task), foldable_baselines(task)
    weights = np.random.default_rng(1).dirichlet(np.ones(len(baselines)))
    expected = sum(
        weight * one.fit(train, USERS, ITEMS).predict(train.user, train.item)
        for one, weight in zip(baselines, weights, strict=True)
    )
    found = averaged(baselines, weights)
    np.testing.assert_allclose(found.fit(train, USERS, ITEMS).predict(train.user, train.item), expected)
    assert sum(found.settings.values()) == pytest.approx(1.0, abs=1e-3)


def test_many_equally_good_baselines_share_the_weight_and_a_bad_one_has_none() -> None:
    label = np.random.default_rng(0).normal(size=300)
    scores = np.stack([label + 0.5 * np.sin(np.arange(300) + at) for at in range(150)] + [label + 3.0])
    weights = weights_of(likelihoods(scores, label, "rating"))
    assert weights.sum() == pytest.approx(1.0)
    assert weights[-1] == 0.0
    assert np.count_nonzero(weights) == 150


def test_clicks_likelihood_is_the_negative_log_loss() -> None:
    label, odds = np.array([1.0, 0.0, 1.0]), np.array([[0.3, -2.0, 1.5]])
    probability = 1.0 / (1.0 + np.exp(-odds[0]))
    expected = np.log(np.where(label > 0.5, probability, 1.0 - probability)).sum()
    assert likelihoods(odds, label, "click")[0] == pytest.approx(expected)
