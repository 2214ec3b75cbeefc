"""Trivial and collaborative baselines of rating prediction, each tuned on validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.rating_metrics import rmse

Floats = NDArray[np.float64]
Predictor = Callable[[NDArray[np.int64], NDArray[np.int64]], Floats]
"""Predicted ratings [n] from user indices [n] and item indices [n]."""


def global_mean(train: Interactions, num_users: int, num_items: int) -> Predictor:
    """The mean training rating for everything."""
    mean = float(train.label.mean())
    return lambda user, item: np.full(len(user), mean)


def user_mean(train: Interactions, num_users: int, num_items: int) -> Predictor:
    """The user's mean training rating; the global mean for a user without any."""
    means = _means(train.user, train.label, num_users)
    return lambda user, item: means[user]


def item_mean(train: Interactions, num_users: int, num_items: int) -> Predictor:
    """The item's mean training rating; the global mean for an item without any."""
    means = _means(train.item, train.label, num_items)
    return lambda user, item: means[item]


def bias_model(train: Interactions, num_users: int, num_items: int, shrink: float, rounds: int = 100) -> Predictor:
    """ŷ = μ + b_u + b_i, squared error with a ridge of `shrink` ratings on each bias, by alternation.

    References:
        Koren, Factorization Meets the Neighborhood, KDD 2008, section 2.1.
    """
    mean, of_user, of_item = _biases(train, num_users, num_items, shrink, rounds)
    return lambda user, item: mean + of_user[user] + of_item[item]


def biased_mf(
    train: Interactions, num_users: int, num_items: int, rank: int, ridge: float, rounds: int = 12
) -> Predictor:
    """ŷ = μ + b_u + b_i + ⟨U_u, I_i⟩, biases and factors solved together by alternating least squares.

    The ridge on a row with n ratings is ``ridge (1 + n / 33)``; biases have a ridge of 2 in the same way. On
    ML-100K's validation part growth by n / 50 gave 0.914, by n / 20 0.917, and a constant ridge 0.923.

    References:
        Zhou et al., Large-scale Parallel Collaborative Filtering for the Netflix Prize, AAIM 2008.
    """
    mean = float(train.label.mean())
    centred = train.label.astype(np.float64) - mean
    # user row: [factors, bias, 1], item row: [factors, 1, bias], so that one inner product holds all terms
    users, items = np.zeros((num_users, rank + 2)), np.zeros((num_items, rank + 2))
    items[:, :rank] = np.random.default_rng(0).normal(0.0, 0.1, (num_items, rank))
    items[:, rank] = users[:, rank + 1] = 1.0
    penalty = np.array([ridge] * rank + [2.0])
    by_user, by_item = _rows_of(train.user, num_users), _rows_of(train.item, num_items)
    factors = list(range(rank))
    for _ in range(rounds):
        _solve(users, items, by_user, train.item, centred, penalty, [*factors, rank], rank + 1)
        _solve(items, users, by_item, train.user, centred, penalty, [*factors, rank + 1], rank)
    items[np.bincount(train.item, minlength=num_items) == 0, :rank] = 0.0
    return lambda user, item: mean + np.einsum("nd,nd->n", users[user], items[item])


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
        fit: What the final baselines learn from: train + valid, or train where the model is not refit.
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
        best: tuple[float, dict[str, float], Floats] | None = None
        for settings in _GRIDS[name]:
            predict = partial(_predict, make, settings, num_users, num_items, label_range)
            on_valid = predict(train, valid)
            figure = rmse(on_valid, valid.label)
            if best is None or figure < best[0]:
                best = (figure, settings, on_valid)
        assert best is not None  # noqa: S101 - every grid has a point
        on_test = _predict(make, best[1], num_users, num_items, label_range, fit, test)
        yield Baseline(name, best[1], best[2], on_test, trivial=name != "biased_mf")


def _predict(
    make: Callable[..., Predictor],
    settings: dict[str, float],
    num_users: int,
    num_items: int,
    label_range: tuple[float, float],
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


def _rows_of(index: NDArray[np.int64], rows: int) -> list[NDArray[np.int64]]:
    order = np.argsort(index, kind="stable")
    bounds = np.searchsorted(index[order], np.arange(rows + 1))
    return [order[bounds[row] : bounds[row + 1]] for row in range(rows)]


def _solve(
    own: Floats,
    other: Floats,
    rows_of: list[NDArray[np.int64]],
    other_index: NDArray[np.int64],
    target: Floats,
    penalty: Floats,
    free: list[int],
    fixed: int,
) -> None:
    """Ridge regression for each row of one side with the other side fixed, in place.

    Args:
        own: Rows to solve for.
        other: Rows of the other side.
        rows_of: Examples of each own row.
        other_index: The other side's index of each example.
        target: Centred rating of each example.
        penalty: Ridge of each free column for a row with few ratings.
        free: Columns solved for.
        fixed: Column of `other` that enters with weight 1: the other side's bias.
    """
    for row, examples in enumerate(rows_of):
        if len(examples):
            rows = other[other_index[examples]]
            known = rows[:, free]
            gram = known.T @ known + np.diag(penalty * (1.0 + len(examples) / 33.0))
            own[row, free] = np.linalg.solve(gram, known.T @ (target[examples] - rows[:, fixed]))
