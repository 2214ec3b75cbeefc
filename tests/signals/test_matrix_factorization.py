"""Matrix factorization: a start in the unit of each task's scores, and what a model makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from learning import Task, crossed, divided, error, fit, interactions, model_of, signals_of, signs

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.signals.parts.matrix_factorization import biased_mf, factorized, interaction_svd

USERS, ITEMS = 41, 31


def _tastes(label: Any, seed: int = 0) -> tuple[Interactions, Interactions]:
    """Labels of pairs by whether user and item are of one kind; a third is held out."""
    rng = np.random.default_rng(seed)
    of_user, of_item = signs(rng, USERS), signs(rng, ITEMS)
    user, item = crossed(range(1, USERS), range(1, ITEMS))
    whole = interactions(user, item, label(of_user[user] * of_item[item]))
    return divided(whole, rng.random(len(user)) < 0.33)


def _met() -> Interactions:
    """Users meet items of their kind alone, about half of them."""
    rng = np.random.default_rng(0)
    of_user, of_item = signs(rng, USERS), signs(rng, ITEMS)
    user, item = crossed(range(1, USERS), range(1, ITEMS))
    kept = (of_user[user] == of_item[item]) & (rng.random(len(user)) < 0.5)
    return interactions(user[kept], item[kept], np.ones(int(kept.sum())))


def test_ratings_are_factorized_as_they_are() -> None:
    train, test = _tastes(lambda alike: 3.0 + 1.5 * alike)
    found = factorized(train, USERS, ITEMS, 4, 1.0, "rating")
    assert np.sqrt(np.mean((found.predict(test.user, test.item) - test.label) ** 2)) < 0.3
    same = biased_mf(train, USERS, ITEMS, 4, 1.0)
    np.testing.assert_array_equal(found.predict(test.user, test.item), same.predict(test.user, test.item))


@pytest.mark.parametrize("scale", [(0.0, 1.0), (1.0, 5.0)])
def test_clicks_are_brought_to_log_odds(scale: tuple[float, float]) -> None:
    low, high = scale
    train, _ = _tastes(lambda alike: np.where(alike > 0, high, low))
    shares, odds = (
        biased_mf(part, USERS, ITEMS, 4, 1.0) if part is not None else factorized(train, USERS, ITEMS, 4, 1.0, "click")
        for part in (interactions(train.user, train.item, (train.label - low) / (high - low)), None)
    )
    expected = 4.0 * (shares.predict(train.user, train.item) - shares.mean)
    np.testing.assert_allclose(odds.predict(train.user, train.item) - odds.mean, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected).mean() > 1.0


def test_who_met_what_is_decomposed_for_rankings() -> None:
    train = _met()
    found = interaction_svd(train, USERS, ITEMS, 5)
    matrix = np.zeros((USERS, ITEMS))
    matrix[train.user, train.item] = 1.0
    degrees = np.outer(matrix.sum(1), matrix.sum(0))
    left, strength, right = np.linalg.svd(matrix / np.sqrt(np.maximum(degrees, 1.0)))
    best = (left[:, :5] * strength[:5]) @ right[:5]
    product = found.user @ found.item.T
    np.testing.assert_allclose(product / np.abs(product).max(), best / np.abs(best).max(), atol=1e-6)
    assert product[train.user, train.item].mean() == pytest.approx(1.0)
    assert np.abs(found.user[0]).max() == np.abs(found.item[0]).max() == 0.0
    again = interaction_svd(
        interactions(*(np.tile(side, 2) for side in (train.user, train.item, train.label))), USERS, ITEMS, 5
    )
    np.testing.assert_allclose(again.user @ again.item.T, product, atol=1e-9)


def test_rank_beyond_the_matrix_leaves_columns_empty() -> None:
    found = interaction_svd(interactions([1, 1, 2], [1, 2, 2], [1, 1, 1]), 3, 3, 6)
    assert found.user.shape == found.item.shape == (3, 6)
    assert np.isfinite(found.user).all()
    assert np.abs(found.user[:, 2:]).max() == 0.0


OPTIONS = {"user_history": "none", "item_history": "none", "start_ridge": 1.0}


@pytest.mark.trains
@pytest.mark.parametrize("start", ["none", "mf"])
def test_untrained_model_that_starts_from_it_knows_the_tastes(start: str) -> None:
    train, test = _tastes(lambda alike: 3.0 + 1.5 * alike)
    task = Task(train, test, USERS, ITEMS)
    model = model_of(task, {"collaborative": {**OPTIONS, "start": start}}).eval()
    found = error(model, test)
    assert (found < 0.3) if start == "mf" else (found > 1.4)
    trained = error(fit(model, task, epochs=30), test)
    assert trained < 0.3, "and it learns on"


def test_rankings_start_with_items_of_the_own_kind_first() -> None:
    train = _met()
    task = Task(train, train, USERS, ITEMS)
    rng = np.random.default_rng(0)  # as in `_met`
    of_user, of_item = signs(rng, USERS), signs(rng, ITEMS)
    unmet = {(u, i) for u, i in zip(*crossed(range(1, USERS), range(1, ITEMS)), strict=True)}
    unmet -= set(zip(train.user.tolist(), train.item.tolist(), strict=True))
    user, item = (torch.tensor(side) for side in zip(*sorted((int(u), int(i)) for u, i in unmet), strict=True))
    found = {}
    for start in ("none", "mf"):
        (signal,) = signals_of(task, {"collaborative": {**OPTIONS, "start": start}}, "ranking").values()
        signal.parts.eval()
        batch = Batch(user, item)
        scores = ((signal.user(batch) * signal.item(batch)).sum(-1) + signal.offset(batch)).detach().numpy()
        alike = of_user[user.numpy()] == of_item[item.numpy()]
        found[start] = float(np.mean(scores[alike]) - np.mean(scores[~alike]))
    assert found["mf"] > 0.3
    assert abs(found["none"]) < 0.05


def test_start_fills_the_first_columns_and_biases_and_leaves_the_rest() -> None:
    train, _ = _tastes(lambda alike: 3.0 + alike)
    task = Task(train, train, USERS, ITEMS)
    (plain,) = signals_of(task, {"collaborative": OPTIONS}).values()
    (started,) = signals_of(task, {"collaborative": {**OPTIONS, "start": "mf", "start_rank": 3}}).values()
    expected = biased_mf(train, USERS, ITEMS, 3, 1.0)
    for side, factors, bias in (
        ("user", expected.user, expected.user_bias),
        ("item", expected.item, expected.item_bias),
    ):
        table = started.parts[side].weight.detach()
        np.testing.assert_allclose(table[:, :3].numpy(), factors, rtol=1e-5, atol=1e-6)
        assert torch.equal(table[:, 3:], plain.parts[side].weight[:, 3:])
        np.testing.assert_allclose(
            started.parts[f"{side}_bias"].weight[:, 0].detach().numpy(), bias, rtol=1e-5, atol=1e-6
        )
    (biases,) = signals_of(task, {"collaborative": {**OPTIONS, "start": "mf", "factors": False}}).values()
    assert biases.parts["item_bias"].weight.abs().max() > 0.01
    (users,) = signals_of(task, {"collaborative": {**OPTIONS, "start": "mf", "items": False}}).values()
    assert float(users.parts["user"].weight.detach().std()) < 0.1, "factors of users say nothing without those of items"
