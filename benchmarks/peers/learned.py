"""Learned: what a peer learns from, in the forms that libraries take, and the profiles that it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.order import in_time

ONES, TOLD, BM25 = "ones", "told", "bm25"
"""Weights of a user's items: all the same; 1 + how often or how long, as the data tell; those told, by BM25."""


@dataclass(frozen=True)
class Learned:
    """What a peer learns from: training, or training and validation.

    Attributes:
        interactions: Numbered interactions.
        num_users: Rows of a user table; row 0 is nobody.
        num_items: Rows of an item table; row 0 is nothing.
        gives_histories: Whether examples come with histories of their owner's, of users that training may not know.
        in_time: Whether times are known, so that sequences mean something.
    """

    interactions: Interactions
    num_users: int
    num_items: int
    gives_histories: bool
    in_time: bool

    def matrix(self, weights: str = ONES) -> sparse.csr_matrix:
        """Return the weight of each item for each user, float32 [num_users, num_items]."""
        told = self._told
        if weights == TOLD:
            return told
        if weights == BM25:
            from implicit.nearest_neighbours import bm25_weight

            # as implicit's own example of this data has it: K1 and B, items as documents
            return bm25_weight(told.T, K1=100, B=0.8).T.tocsr().astype(np.float32)
        return sparse.csr_matrix((np.ones_like(told.data), told.indices, told.indptr), told.shape)

    def profiles(self, part: Interactions, weights: str = ONES) -> sparse.csr_matrix:
        """Return what is known of the user of each example, float32 [n, num_items], weighted as `matrix` is.

        It is the user's row of the matrix, or the example's own history where the owner gives these.
        """
        if not self.gives_histories:
            return self.matrix(weights)[part.user]
        if weights != ONES:
            raise ValueError("histories tell no weights")
        history = Histories.empty(len(part)) if part.history is None else part.history
        row, column = np.nonzero(history.padded()[0])
        item = history.padded()[0][row, column]
        counts = sparse.csr_matrix((np.ones(len(row), np.float32), (row, item)), (len(part), self.num_items))
        counts.data[:] = 1.0  # a repeated item counts once, as in the matrix
        return counts

    def sequences(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return users and items in the order of users, then of time, int64 [n] each."""
        order = in_time(self.interactions.user, self.interactions.timestamp)
        return self.interactions.user[order], self.interactions.item[order]

    @cached_property
    def _told(self) -> sparse.csr_matrix:
        known = self.interactions
        weight = np.ones(len(known), np.float32)
        if known.confidence is not None:
            weight += known.confidence  # it may be 0: a game that was bought and never played counts, too
        return sparse.csr_matrix((weight, (known.user, known.item)), (self.num_users, self.num_items), np.float32)

    @property
    def tells_weights(self) -> bool:
        """Whether the data say how often or how long each interaction happened."""
        return self.interactions.confidence is not None and not self.gives_histories
