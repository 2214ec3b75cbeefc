"""Peers of `cornac`: EASE and SASRec for rankings, biased matrix factorization for ratings."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from peers.contract import Peer, Scores, Settings
from peers.learned import Learned

DENSE_ITEMS = 10_000
"""Items up to which EASE is fitted: it inverts a dense matrix of items by items, and holds three of them."""
LENGTH = 50
"""Entries of a history that SASRec reads, as its authors and the library have it."""
LARGE = 50_000
"""Interactions from which SASRec reads no more entries than 99 of 100 users have, and is trained for 20 epochs at most:
with 73,000 an epoch of padded histories takes a core most of a minute."""


class Ease(Peer):
    """A linear model from what a user met to what comes next to it, in closed form.

    References:
        Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019.
    """

    name: ClassVar[str] = "EASE"
    package: ClassVar[str] = "cornac"
    task: ClassVar[str] = "ranking"
    seeded: ClassVar[bool] = False

    def grid(self, learned: Learned) -> Sequence[Settings]:
        """Return strengths of the ridge around the documented one, with and without negative weights."""
        return [
            {"lamb": ridge, "posB": positive}
            for ridge, positive in itertools.product((1.0, 10.0, 100.0, 300.0, 1000.0), (True, False))
        ]

    def refusal(self, learned: Learned) -> str | None:
        """Its matrix is dense."""
        if learned.num_items <= DENSE_ITEMS:
            return None
        return f"three dense matrices of {learned.num_items - 1:,} items by as many are too large"

    def fitted(self, learned: Learned, settings: Settings, seed: int) -> Scores:
        """Solve for the weights."""
        import torch
        from cornac.data import Dataset
        from cornac.models import EASE

        users, items = learned.matrix().nonzero()
        model = EASE(**settings, verbose=False)
        model.fit(Dataset(*_sizes(learned), *_maps(learned), (users, items - 1, np.ones(len(users)))))
        weights = model.B.astype(np.float32)
        return lambda part: torch.from_numpy(learned.profiles(part)[:, 1:] @ weights)


class SelfAttention(Peer):
    """SASRec: self-attention over the last items, softmax over the batch's and drawn items.

    References:
        Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018.
    """

    name: ClassVar[str] = "SASRec"
    package: ClassVar[str] = "cornac"
    task: ClassVar[str] = "ranking"
    seeded: ClassVar[bool] = True

    def grid(self, learned: Learned) -> Sequence[Settings]:
        """Return epochs and dropout; all else is as the library has it, but for smaller batches, and of large data."""
        large = len(learned.interactions) > LARGE
        length = min(LENGTH, int(np.percentile(self._lengths(learned), 99))) if large else LENGTH
        return [
            {"embedding_dim": 64, "batch_size": 256, "n_epochs": epochs, "dropout": dropout, "max_len": length}
            for epochs, dropout in itertools.product((10, 20) if large else (10, 20, 40), (0.2, 0.5))
        ]

    def refusal(self, learned: Learned) -> str | None:
        """It reads sequences."""
        return None if learned.in_time else "no times are known, so there are no sequences"

    def fitted(self, learned: Learned, settings: Settings, seed: int) -> Scores:
        """Train on every prefix of every user's sequence."""
        import torch
        from cornac.data import SequentialDataset
        from cornac.models import SASRec

        # positions beyond the longest sequence would stay untrained
        length = min(settings["max_len"], int(self._lengths(learned).max()))
        users, items = learned.sequences()
        sessions = {name: name for name in range(learned.num_users)}
        data = SequentialDataset(
            learned.num_users,
            len(sessions),
            learned.num_items - 1,
            _maps(learned)[0],
            sessions,
            _maps(learned)[1],
            (users, items - 1, np.ones(len(users))),
            session_indices=users,
        )
        model = SASRec(**{**settings, "max_len": length}, seed=seed)
        model.fit(data)
        every, padding = torch.arange(learned.num_items - 1), learned.num_items - 1

        def scores(part: Interactions) -> Any:
            history = Histories.empty(len(part)) if part.history is None else part.history
            read = history.newest(length).padded(length)[0] - 1  # the library numbers items from 0, padding last
            model.model.eval()
            with torch.no_grad():
                return model.model(None, torch.from_numpy(np.where(read < 0, padding, read)), every)

        return scores

    def _lengths(self, learned: Learned) -> NDArray[np.int64]:
        """Return the length of each user's sequence, of those who have one."""
        lengths = np.bincount(learned.interactions.user)
        return lengths[lengths > 0]


class BiasedFactors(Peer):
    """Biased matrix factorization of ratings by stochastic gradient descent.

    References:
        Koren, Bell and Volinsky, Matrix Factorization Techniques for Recommender Systems, Computer 42(8), 2009.
    """

    name: ClassVar[str] = "biased MF"
    package: ClassVar[str] = "cornac"
    task: ClassVar[str] = "rating"
    seeded: ClassVar[bool] = True

    def grid(self, learned: Learned) -> Sequence[Settings]:
        """Return settings around the documented ones."""
        return [
            {"k": rank, "learning_rate": rate, "lambda_reg": ridge, "max_iter": iterations}
            for rank, rate, ridge, iterations in itertools.product(
                (10, 40, 100), (0.002, 0.005, 0.01), (0.01, 0.02, 0.05, 0.1), (25, 50, 100, 200)
            )
        ]

    def fitted(self, learned: Learned, settings: Settings, seed: int) -> Scores:
        """Fit biases and factors."""
        from cornac.data import Dataset
        from cornac.models import MF

        known = learned.interactions
        stars = known.label.astype(np.float64)
        model = MF(**settings, use_bias=True, num_threads=1, seed=seed)
        model.fit(Dataset(*_sizes(learned), *_maps(learned), (known.user, known.item - 1, stars)))

        def scores(part: Interactions) -> Any:
            user, item = part.user, part.item - 1
            product = np.einsum("nk,nk->n", model.u_factors[user], model.i_factors[item])
            return (model.global_mean + model.u_biases[user] + model.i_biases[item] + product).astype(np.float64)

        return scores


def _sizes(learned: Learned) -> tuple[int, int]:
    return learned.num_users, learned.num_items - 1


def _maps(learned: Learned) -> tuple[OrderedDict[int, int], OrderedDict[int, int]]:
    """Return the library's numbers of users and items: ours, items from 0."""
    users, items = _sizes(learned)
    return OrderedDict((at, at) for at in range(users)), OrderedDict((at, at) for at in range(items))
