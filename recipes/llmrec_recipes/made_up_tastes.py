"""Made-up tastes: users who like some kinds of items meet items of these kinds, and the liked ones more often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MADE_UP = "this data is made up: it shows what the suite does, not how well it does on yours"
_LIKED = 2.0
"""Log-odds by which a kind that a user likes is ahead of others."""


@dataclass(frozen=True)
class Tastes:
    """Who met what.

    Attributes:
        kind: Kind of each item, int64 [items].
        user: User of each meeting, int64 [n]; each pair of a user and an item is there once.
        item: Its item, int64 [n].
        liking: How well its kind suits the user, with noise: a number around 0 to 2, float64 [n].
    """

    kind: NDArray[np.int64]
    user: NDArray[np.int64]
    item: NDArray[np.int64]
    liking: NDArray[np.float64]


def made_up_tastes(
    rng: np.random.Generator, kinds: int, items: int, users: int, least: int, most: int, rare: float
) -> Tastes:
    """Draw kinds of items, users' tastes and meetings.

    Args:
        rng: Source of all draws.
        kinds: Number of kinds; a user likes one or two of them.
        items: Number of items, equally many of each kind.
        users: Number of users.
        least: Fewest items that a user meets.
        most: Most items that a user meets.
        rare: Share of items that people meet a twentieth as often as others.
    """
    kind = np.sort(np.arange(items) % kinds)
    fame = rng.normal(0.0, 0.6, items) - 3.0 * (rng.random(items) < rare)
    tastes = np.zeros((users, kinds))
    for one in range(users):
        tastes[one, rng.permutation(kinds)[: rng.integers(1, 3)]] = _LIKED
    user, item = [], []
    for one, count in enumerate(rng.integers(least, most + 1, users).tolist()):
        odds = np.exp(2.0 * tastes[one, kind] + fame)
        item.append(rng.choice(items, count, replace=False, p=odds / odds.sum()))
        user.append(np.full(count, one))
    users_of, items_of = np.concatenate(user).astype(np.int64), np.concatenate(item).astype(np.int64)
    liking = tastes[users_of, kind[items_of]] + rng.normal(0.0, 0.5, len(users_of))
    return Tastes(kind.astype(np.int64), users_of, items_of, liking)
