"""Baselines of rating prediction: means and collaborative models, each tuned on validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.rating_metrics import rmse
from llmrec_peft.signals.parts import matrix_factorization

Floats = NDArray[np.float64]
Predictor = Callable[[NDArray[np.int64], NDArray[np.int64]], Floats]
"""Predicted ratings [n] from user indices [n] and item indices [n]."""


def global_mean(train: Interactions, num_users: int, num_items: int) -> Predictor:
    """Predict the mean training rating for all pairs."""
    mean = float(train.label.mean())
    return lambda user, item: np.full(len(user), mean)


def user_mean(train: Interactions, num_users: int, num_items: int) -> Predictor:
    """Predict the user's mean training rating; the global mean for a user without any."""
    means = _means(train.user, train.label, num_users)
    return lambda user, item: means[user]


def item_mean(train: Interactions, num_users: int, num_items: int) -> Predictor:
    """Predict the item's mean training rating; the global mean for an item without any."""
    means = _means(train.item, train.label, num_items)
    return lambda user, item: means[item]


def bias_model(train: Interactions, num_users: int, num_items: int, shrink: float, rounds: int = 100) -> Predictor:
    """Fit ŷ = μ + b_u + b_i by alternation, squared error with a ridge of `shrink` ratings on each bias.

    References:
        Koren, Factorization Meets the Neighborhood, KDD 2008, section 2.1.
    """
    mean, of_user, of_item = _biases(train, num_users, num_items, shrink, rounds)
    return lambda user, item: mean + of_user[user] + of_item[item]


def biased_mf(
    train: Interactions, num_users: int, num_items: int, rank: int, ridge: float, rounds: int = 12
) -> Predictor:
    """Fit ŷ = μ + b_u + b_i + ⟨U_u, I_i⟩, biases and factors together by alternating least squares.

    References:
        Zhou et al., Large-scale Parallel Collaborative Filtering for the Netflix Prize, AAIM 2008.
    """
    return matrix_factorization.biased_mf(train, num_users, num_items, rank, ridge, rounds).predict


_GRIDS: dict[str, list[dict[str, float]]] = {
    "global_mean": [{}],
    "user_mean": [{}],
    "item_mean": [{}],
    "bias": [{"shrink": shrink} for shrink in (1.0, 2.0, 5.0, 10.0, 20.0)],
    "biased_mf": [{"rank": rank, "ridge": ridge} for rank in (8, 16) for ridge in (3.0, 4.0, 6.0)],
}


def rating_baselines(
    train: Interactions,
    valid: Interactions,
    fit: Interactions,
    test: Interactions,
    num_users: int,
    num_items: int,
    label_range: tuple[float, float],
) -> Iterator[Baseline]:
    """Tune every baseline on validation and predict test once.

    Args:
        train: Training part.
        valid: Validation part.
        fit: Data of the final baselines: train + valid, or train if the model is not refit.
        test: Test part; its ratings are not read.
        num_users: Rows of a user table.
        num_items: Rows of an item table.
        label_range: Predictions are clamped to it.
    """
    makers: dict[str, Callable[..., Predictor]] = {
        "global_mean": global_mean,
        "user_mean": user_mean,
        "item_mean": item_mean,
        "bias": bias_model,
        "biased_mf": biased_mf,
    }
    for name, make in makers.items():
        predict = partial(_predict, make, num_users, num_items, label_range)
        on_valid = [(settings, predict(settings, train, valid)) for settings in _GRIDS[name]]
        best, predicted = min(on_valid, key=lambda one: rmse(one[1], valid.label))
        yield Baseline(name, best, predicted, predict(best, fit, test), trivial=name != "biased_mf")


def _predict(
    make: Callable[..., Predictor],
    num_users: int,
    num_items: int,
    label_range: tuple[float, float],
    settings: dict[str, float],
    learn: Interactions,
    ask: Interactions,
) -> Floats:
    whole = {name: int(value) if name == "rank" else value for name, value in settings.items()}
    predicted = make(learn, num_users, num_items, **whole)(ask.user, ask.item)
    return np.clip(predicted, *label_range)


def _means(index: NDArray[np.int64], label: NDArray[np.float32], rows: int) -> Floats:
    count = np.bincount(index, minlength=rows)
    sums = np.bincount(index, label.astype(np.float64), rows)
    return np.where(count > 0, sums / np.maximum(count, 1), float(label.mean()))


def _biases(
    train: Interactions, num_users: int, num_items: int, shrink: float, rounds: int
) -> tuple[float, Floats, Floats]:
    mean = float(train.label.mean())
    centred = train.label.astype(np.float64) - mean
    of_user, of_item = np.zeros(num_users), np.zeros(num_items)
    users = np.bincount(train.user, minlength=num_users) + shrink
    items = np.bincount(train.item, minlength=num_items) + shrink
    for _ in range(rounds):
        of_item = np.bincount(train.item, centred - of_user[train.user], num_items) / items
        of_user = np.bincount(train.user, centred - of_item[train.item], num_users) / users
    return mean, of_user, of_item
