"""Baselines of rating prediction: means and collaborative models, each tuned on validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.baselines.biases import fitted_biases
from llmrec_peft.evaluation.rating_metrics import rmse
from llmrec_peft.signals.parts import matrix_factorization

Floats = NDArray[np.float64]
Predictor = Callable[[NDArray[np.int64], NDArray[np.int64]], Floats]
"""Predicted ratings [n] from user indices [n] and item indices [n]."""
ROUNDS = 100
"""Alternations of biases, at most."""


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


def bias_model(train: Interactions, num_users: int, num_items: int, shrink: float, rounds: int = ROUNDS) -> Predictor:
    """Fit ŷ = μ + b_u + b_i by alternation, squared error with a ridge of `shrink` ratings on each bias.

    References:
        Koren, Factorization Meets the Neighborhood, KDD 2008, section 2.1.
    """
    return fitted_biases(train, num_users, num_items, [shrink], rounds)[0].predict


def biased_mf(
    train: Interactions, num_users: int, num_items: int, rank: int, ridge: float, rounds: int = 12
) -> Predictor:
    """Fit ŷ = μ + b_u + b_i + ⟨U_u, I_i⟩, biases and factors together by alternating least squares.

    References:
        Zhou et al., Large-scale Parallel Collaborative Filtering for the Netflix Prize, AAIM 2008.
    """
    return matrix_factorization.biased_mf(train, num_users, num_items, rank, ridge, rounds).predict


Settings = dict[str, float]
Fits = Callable[[Interactions, int, int, list[Settings]], Iterator[Predictor]]
"""Fits a baseline to interactions, given the sizes of both tables, with each of some settings."""


def _with_each(make: Callable[..., Predictor]) -> Fits:
    """Return what fits a baseline with one setting after the other."""

    def fits(train: Interactions, num_users: int, num_items: int, grid: list[Settings]) -> Iterator[Predictor]:
        for settings in grid:
            whole = {name: int(value) if name == "rank" else value for name, value in settings.items()}
            yield make(train, num_users, num_items, **whole)

    return fits


def _biases(train: Interactions, num_users: int, num_items: int, grid: list[Settings]) -> Iterator[Predictor]:
    """Fit biases with all strengths of the ridge at once."""
    strengths = [settings["shrink"] for settings in grid]
    return (biases.predict for biases in fitted_biases(train, num_users, num_items, strengths, ROUNDS))


_GRIDS: dict[str, list[Settings]] = {
    "global_mean": [{}],
    "user_mean": [{}],
    "item_mean": [{}],
    "bias": [{"shrink": shrink} for shrink in (1.0, 2.0, 5.0, 10.0, 20.0)],
    "biased_mf": [{"rank": rank, "ridge": ridge} for rank in (8, 16) for ridge in (3.0, 4.0, 6.0)],
}
_FITS: dict[str, Fits] = {
    "global_mean": _with_each(global_mean),
    "user_mean": _with_each(user_mean),
    "item_mean": _with_each(item_mean),
    "bias": _biases,
    "biased_mf": _with_each(biased_mf),
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
    for name, fits in _FITS.items():
        grid = _GRIDS[name]

        def predicted(some: list[Settings], learn: Interactions, ask: Interactions, fits: Fits = fits) -> list[Floats]:
            models = fits(learn, num_users, num_items, some)
            return [np.clip(predict(ask.user, ask.item), *label_range) for predict in models]

        on_valid = predicted(grid, train, valid)
        best = min(range(len(grid)), key=lambda at: rmse(on_valid[at], valid.label))
        (on_test,) = predicted([grid[best]], fit, test)
        yield Baseline(name, grid[best], on_valid[best], on_test, trivial=name != "biased_mf")


def _means(index: NDArray[np.int64], label: NDArray[np.float32], rows: int) -> Floats:
    count = np.bincount(index, minlength=rows)
    sums = np.bincount(index, label.astype(np.float64), rows)
    return np.where(count > 0, sums / np.maximum(count, 1), float(label.mean()))
