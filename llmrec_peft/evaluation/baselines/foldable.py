"""Foldable baselines: simple rules whose scores are tables of users and items, so that a model can serve them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.signals.parts.matrix_factorization import Factors, biased_mf

Floats = NDArray[np.float64]
SHRINK = (1.0, 2.0, 5.0, 10.0, 25.0, 100.0)
"""Weight of the prior in a bias or rate, as a number of labels; small data need the larger ones."""
ITEM_WEIGHTS = (0.5, 1.0, 1.5)
"""Weight of an item's log-odds beside a user's."""
RANK, RIDGE = 8, 4.0
"""Of the factorization: on a few thousand ratings its factors shrink to nothing with any larger ridge."""
ROUNDS = 20
"""Alternations of biases: after twenty nothing changes in the fourth digit."""
LOWEST, HIGHEST = 1e-3, 1.0 - 1e-3
"""Bounds of a rate before its log-odds are taken."""


@dataclass(frozen=True)
class Foldable:
    """One baseline with its settings: score = mean + b_u + b_i + ⟨U_u, I_i⟩, in stars or in log-odds.

    Attributes:
        name: Its family, as in reports: ``global_mean``, ``bias``, ``user_and_item_rates``, …
        settings: Its settings.
        fit: Computes the tables from interactions, the number of users and the number of items. Labels of clicks are
            1 and 0. Users and items without interactions get what is expected of them: zero beside the mean.
    """

    name: str
    settings: dict[str, float]
    fit: Callable[[Interactions, int, int], Factors]


def foldable_baselines(task: str) -> list[Foldable]:
    """Return every foldable baseline of a task in each of its settings, simple families first.

    Args:
        task: ``rating`` or ``click``.
    """
    return list(_of_ratings() if task == "rating" else _of_clicks())


def _of_ratings() -> Iterator[Foldable]:
    yield Foldable("global_mean", {}, lambda train, users, items: _constant(float(train.label.mean()), users, items))
    for shrink in SHRINK:
        yield Foldable("user_mean", {"shrink": shrink}, _biased(shrink, None))
    for shrink in SHRINK:
        yield Foldable("item_mean", {"shrink": shrink}, _biased(None, shrink))
    for user, item in itertools.product(SHRINK, SHRINK):
        yield Foldable("bias", {"user_shrink": user, "item_shrink": item}, _biased(user, item))
    yield Foldable("biased_mf", {"rank": RANK, "ridge": RIDGE}, _factorized(RANK, RIDGE))


def _of_clicks() -> Iterator[Foldable]:
    yield Foldable("global_rate", {}, lambda train, users, items: _constant(_odds(train.label.mean()), users, items))
    for shrink in SHRINK:
        yield Foldable("user_rate", {"shrink": shrink}, _rated(shrink, None, 1.0))
    for shrink in SHRINK:
        yield Foldable("item_rate", {"shrink": shrink}, _rated(None, shrink, 1.0))
    for user, item, weight in itertools.product(SHRINK, SHRINK, ITEM_WEIGHTS):
        settings = {"user_shrink": user, "item_shrink": item, "item_weight": weight}
        yield Foldable("user_and_item_rates", settings, _rated(user, item, weight))


def _constant(mean: Floats | float, users: int, items: int) -> Factors:
    return Factors(float(mean), np.zeros((users, 0)), np.zeros((items, 0)), np.zeros(users), np.zeros(items))


def _biased(user_shrink: float | None, item_shrink: float | None) -> Callable[[Interactions, int, int], Factors]:
    """Fit μ + b_u + b_i by alternation, each bias with a ridge of its side's `shrink` labels; None leaves a side out.

    References:
        Koren, Factorization Meets the Neighborhood, KDD 2008, section 2.1.
    """

    def fit(train: Interactions, users: int, items: int) -> Factors:
        mean = float(train.label.mean())
        of_user, of_item = biases(train, users, items, mean, user_shrink, item_shrink)
        return replace(_constant(mean, users, items), user_bias=of_user, item_bias=of_item)

    return fit


def biases(
    train: Interactions,
    users: int,
    items: int,
    mean: float,
    user_shrink: float | None,
    item_shrink: float | None,
) -> tuple[Floats, Floats]:
    """Compute biases of users, float64 [users], and of items, float64 [items], around a mean.

    Args:
        train: Interactions.
        users: Rows of a user table.
        items: Rows of an item table.
        mean: What biases are added to.
        user_shrink: Ridge of a user's bias, as a number of labels; None for no biases of users.
        item_shrink: The same of items.
    """
    centred = train.label.astype(np.float64) - mean
    of_user, of_item = np.zeros(users), np.zeros(items)
    user_count, item_count = train.counts_by_user(users), train.counts_by_item(items)
    for _ in range(ROUNDS if user_shrink is not None and item_shrink is not None else 1):
        if item_shrink is not None:
            of_item = np.bincount(train.item, centred - of_user[train.user], items) / (item_count + item_shrink)
        if user_shrink is not None:
            of_user = np.bincount(train.user, centred - of_item[train.item], users) / (user_count + user_shrink)
    return of_user, of_item


def _factorized(rank: int, ridge: float) -> Callable[[Interactions, int, int], Factors]:
    return lambda train, users, items: biased_mf(train, users, items, rank, ridge)


def _rated(
    user_shrink: float | None, item_shrink: float | None, weight: float
) -> Callable[[Interactions, int, int], Factors]:
    """Fit log-odds of the rates: of an item's labels, and of what a user's labels differ from his items' rates."""

    def fit(train: Interactions, users: int, items: int) -> Factors:
        mean = float(train.label.mean())
        of_user: Floats = np.zeros(users)
        of_item: Floats = np.zeros(items)
        if item_shrink is not None:
            of_item = np.bincount(train.item, train.label - mean, items) / (train.counts_by_item(items) + item_shrink)
        if user_shrink is not None:
            rest = train.label - mean - of_item[train.item]
            of_user = np.bincount(train.user, rest, users) / (train.counts_by_user(users) + user_shrink)
        usual = _odds(mean)
        return replace(
            _constant(usual, users, items),
            user_bias=_odds(mean + of_user) - usual,
            item_bias=weight * (_odds(mean + of_item) - usual),
        )

    return fit


def _odds(rate: Floats | float) -> Floats:
    return np.asarray(logit(np.clip(rate, LOWEST, HIGHEST)), np.float64)
