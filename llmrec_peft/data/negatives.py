"""Negatives: the items that each step's examples are ranked against, and how likely each was to be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions

if TYPE_CHECKING:
    from llmrec_peft.data.batches import Batch


@dataclass(frozen=True)
class Negatives:
    """The negatives that a listwise head asks for.

    Attributes:
        kind: ``catalogue`` (every item), ``in-batch`` (the batch's own items), ``uniform`` or ``popularity``
            (items drawn in addition to the batch's own).
        count: Items drawn per step in addition to the batch's own.
        hard: Items drawn for each example from those most similar to its own item.
    """

    kind: Literal["catalogue", "in-batch", "uniform", "popularity"] = "in-batch"
    count: int = 0
    hard: int = 0


class CandidateSampler:
    """Adds candidates to batches; what is drawn depends on seed, epoch and batch alone.

    With p_i an item's share of the training interactions, B the batch's size and K the items drawn from a
    distribution s, an item is among the distinct candidates of a step with probability 1 - (1 - p_i)^B (1 - s_i)^K;
    subtracting its logarithm makes a sampled softmax nearly unbiased. In batches by item all trained items are equally
    frequent. Items drawn as hard negatives do not enter this probability, since they are over-represented on purpose.

    References:
        Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, RecSys 2019.
    """

    def __init__(
        self,
        negatives: Negatives,
        train: Interactions,
        num_items: int,
        seed: int,
        alike: NDArray[np.int64] | None = None,
    ) -> None:
        """Prepare the draws.

        Args:
            negatives: What is drawn.
            train: Training interactions.
            num_items: Rows of an item table.
            seed: Seed of the draws.
            alike: Items most similar to each item, int64 [num_items, m], 0 if there are fewer; for hard negatives.
        """
        self._negatives = negatives
        self._seed = seed
        self._num_items = num_items
        self._alike = alike
        self.batches_are_of(train.item)
        known = np.ones(num_items)
        known[0] = 0.0
        self._drawn_from = self._share if negatives.kind == "popularity" else known / max(1.0, known.sum())
        self._cumulated = np.cumsum(self._drawn_from)

    def batches_are_of(self, item: NDArray[np.int64], by_item: bool = False) -> None:
        """Set what the next batches are made of; by default all that is trained on, shuffled.

        Args:
            item: Items of their examples, int64 [N].
            by_item: Whether batches are made of items, all equally frequent, rather than of examples.
        """
        counts = np.bincount(item, minlength=self._num_items).astype(np.float64)
        self._share = counts / max(1.0, counts.sum())
        self._met = counts > 0
        self._by_item = by_item

    def add(
        self,
        batch: Batch,
        epoch: int,
        step: int,
        own_alone: bool = False,
        items: NDArray[np.int64] | None = None,
    ) -> None:
        """Add candidates, corrections and targets to a batch.

        Args:
            batch: Examples.
            epoch: Epoch from 0.
            step: Number of the batch in the epoch.
            own_alone: Whether only the batch's own items are candidates, whatever `negatives` says.
            items: Items of the whole batch where the examples are one process's part of it, int64 [B].
        """
        import torch

        own = batch.item.cpu().numpy()
        item = own if items is None else items
        candidates = np.unique(item).astype(np.int64) if own_alone else self.candidates(item, epoch, step)
        target = np.searchsorted(candidates, own)
        device = batch.item.device
        batch.candidates = torch.from_numpy(candidates).to(device)
        batch.target = torch.from_numpy(target.astype(np.int64)).to(device)
        if self._negatives.kind == "catalogue" and not own_alone:
            batch.log_q = None
            return
        log_q = self._log_included(item, candidates, own_alone)
        batch.log_q = torch.from_numpy(log_q).to(device)

    def _log_included(
        self, item: NDArray[np.int64], candidates: NDArray[np.int64], own_alone: bool
    ) -> NDArray[np.float32]:
        """Return the log of each candidate's probability of being among a step's candidates, float32 [C]."""
        if self._by_item:
            share = len(np.unique(item)) / max(1, int(self._met.sum()))
            missed = np.where(self._met[candidates], np.log1p(-min(share, 1.0 - 1e-9)), 0.0)
        else:
            missed = len(item) * np.log1p(-np.minimum(self._share[candidates], 1.0 - 1e-12))
        if not own_alone:
            missed = missed + self._negatives.count * np.log1p(-np.minimum(self._drawn_from[candidates], 1.0 - 1e-12))
        return np.log(np.maximum(-np.expm1(missed), 1e-12)).astype(np.float32)

    def candidates(self, item: NDArray[np.int64], epoch: int, step: int) -> NDArray[np.int64]:
        """Return the distinct candidates of a step, sorted, int64 [C]; they include the batch's own items."""
        asked = self._negatives
        if asked.kind == "catalogue":
            return np.arange(1, self._num_items, dtype=np.int64)
        rng = np.random.default_rng([self._seed, 1, epoch, step])
        pools = [item]
        if asked.count:
            pools.append(np.searchsorted(self._cumulated, rng.random(asked.count) * self._cumulated[-1], side="right"))
        if asked.hard and self._alike is not None:
            column = rng.integers(0, self._alike.shape[1], (len(item), asked.hard))
            pools.append(self._alike[item[:, None], column].reshape(-1))
        items = np.unique(np.concatenate(pools)).astype(np.int64)
        return items[(items > 0) & (items < self._num_items)]
