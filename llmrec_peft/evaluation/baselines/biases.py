"""Biases of users and items: ŷ = μ + b_u + b_i, for several strengths of the ridge at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from llmrec_peft.data.interactions import Interactions

Floats = NDArray[np.float64]
CLOSE = 1e-11
"""Alternation ends where no bias would move by more than this in all further rounds."""


@dataclass(frozen=True)
class Biases:
    """ŷ = μ + b_u + b_i; rows without interactions are zero.

    Attributes:
        mean: μ.
        user: b of users, float64 [num_users].
        item: b of items, float64 [num_items].
    """

    mean: float
    user: Floats
    item: Floats

    def predict(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Floats:
        """Return ŷ of pairs, [n]."""
        return self.mean + self.user[user] + self.item[item]


def fitted_biases(
    train: Interactions, num_users: int, num_items: int, shrinks: Sequence[float], rounds: int
) -> list[Biases]:
    """Fit biases by alternation, squared error with a ridge of each `shrink` ratings on each bias.

    A round multiplies the matrix of who rated what, once for all strengths. It ends early where the rest of the rounds
    would change nothing: with changes that fall by a factor r a round, all further ones sum to r / (1 - r) of the last.

    Args:
        train: Ratings.
        num_users: Rows of a user table.
        num_items: Rows of an item table.
        shrinks: Strengths of the ridge, as numbers of ratings.
        rounds: Alternations, at most.

    Returns:
        Biases of each strength, in the order of `shrinks`.

    References:
        Koren, Factorization Meets the Neighborhood, KDD 2008, section 2.1.
    """
    mean, strength = float(train.label.mean()), np.asarray(shrinks, np.float64)
    centred = train.label.astype(np.float64) - mean
    sums = [np.bincount(train.user, centred, num_users)[:, None], np.bincount(train.item, centred, num_items)[:, None]]
    rated = sparse.csr_matrix((np.ones(len(train)), (train.user, train.item)), shape=(num_users, num_items))
    users = np.bincount(train.user, minlength=num_users)[:, None] + strength
    items = np.bincount(train.item, minlength=num_items)[:, None] + strength
    of_user, of_item = np.zeros(users.shape), np.zeros(items.shape)
    before = 0.0
    for _ in range(rounds):
        new_item = (sums[1] - rated.T @ of_user) / items
        new_user = (sums[0] - rated @ new_item) / users
        change = float(max(np.abs(new_user - of_user).max(), np.abs(new_item - of_item).max()))
        of_user, of_item = new_user, new_item
        if change < before and change * change / (before - change) < CLOSE:
            break
        before = change
    return [Biases(mean, of_user[:, at].copy(), of_item[:, at].copy()) for at in range(len(strength))]
