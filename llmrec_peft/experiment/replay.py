"""Replay: the examples of an update's epochs, all new interactions and some of the old ones beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.recipe.update_section import UpdateSection


class Replay:
    """The examples of each epoch: every new interaction, and old ones that are drawn anew.

    A function of seed and epoch, so that an interrupted update goes on with the same examples.

    Attributes:
        count: Old interactions in an epoch: new · share / (1 - share), at most all.

    References:
        Rolnick et al., Experience Replay for Continual Learning, NeurIPS 2019.
    """

    def __init__(self, train: Interactions, old: int, section: UpdateSection, seed: int) -> None:
        """Prepare the draws.

        Args:
            train: Training interactions, the old ones first.
            old: Number of old ones.
            section: Share of old examples, and which.
            seed: Seed of the draws.
        """
        new = len(train) - old
        self.count = min(old, round(new * section.replay / (1.0 - section.replay)))
        self._old, self._policy, self._seed = old, section.policy, seed
        self._new = np.arange(old, len(train))
        self._newest = np.argsort(train.timestamp[:old], kind="stable")[old - self.count :]
        self._chance: NDArray[np.float64] | None = None
        if section.policy == "by-user" and old:
            chance = 1.0 / np.bincount(train.user[:old])[train.user[:old]]
            self._chance = chance / chance.sum()

    def __call__(self, epoch: int) -> NDArray[np.int64]:
        """Return the rows that are the examples of an epoch, counted from 0, ascending."""
        if self._policy == "newest" or self.count == self._old:
            drawn = self._newest
        else:
            rng = np.random.default_rng([self._seed, epoch, 15])
            drawn = rng.choice(self._old, self.count, replace=False, p=self._chance)
        return np.concatenate([np.sort(drawn), self._new])
