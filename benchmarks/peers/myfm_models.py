"""Peer of `myFM`: a Bayesian factorization machine of who rated what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from llmrec_peft.data.interactions import Interactions
from peers.contract import Peer, Scores, Settings
from peers.learned import Learned

DISCARDED = 50
"""Sweeps of the Gibbs sampler that are left out, the first ones."""


class FactorizationMachine(Peer):
    """Ordered probit over ids of users and items and over who rated what, sampled by Gibbs, as its authors advise.

    References:
        Rendle, Zhang and Koren, On the Difficulty of Evaluating Baselines, 2019.
    """

    name: ClassVar[str] = "Bayesian FM"
    package: ClassVar[str] = "myfm"
    task: ClassVar[str] = "rating"
    seeded: ClassVar[bool] = True

    def grid(self, learned: Learned) -> Sequence[Settings]:
        """Return ranks; priors are sampled, too, so that nothing else is to be chosen."""
        return [{"rank": rank, "n_iter": 300} for rank in (8, 16, 32)]

    def fitted(self, learned: Learned, settings: Settings, seed: int) -> Scores:
        """Sample the posterior."""
        from myfm import MyFMOrderedProbit, RelationBlock

        known = learned.interactions
        levels, stars = np.unique(known.label, return_inverse=True)
        met = learned.matrix()
        users, items = _features(met), _features(met.T.tocsr())

        def blocks(part: Interactions) -> list[Any]:
            return [RelationBlock(part.user, users), RelationBlock(part.item, items)]

        model = MyFMOrderedProbit(rank=settings["rank"], random_seed=seed)
        model.fit(
            None,
            stars.astype(np.int64),
            X_rel=blocks(known),
            n_iter=settings["n_iter"],
            n_kept_samples=settings["n_iter"] - DISCARDED,
            group_shapes=[*_groups(users), *_groups(items)],
        )

        def scores(part: Interactions) -> NDArray[np.float64]:
            probability = model.predict_proba(None, X_rel=blocks(part))
            return np.asarray(probability @ levels.astype(np.float64))

        return scores


def _features(met: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return a row a user, or an item: 1 for itself, and 1 / √n for each of the n that it was met with."""
    sizes = np.maximum(np.diff(met.indptr), 1)
    partners = sparse.diags(sizes**-0.5) @ met
    return sparse.hstack([sparse.identity(met.shape[0]), partners], format="csr").astype(np.float64)


def _groups(features: sparse.csr_matrix) -> list[int]:
    """Return the columns of each group of features; a group has a prior of its own."""
    return [features.shape[0], features.shape[1] - features.shape[0]]
