"""Batches: which interactions go into which step, as a pure function of seed and epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass
class Batch:
    """Examples of one step.

    Attributes:
        user: User indices, int64 [B].
        item: Item indices, int64 [B].
        label: Ratings, float32 [B]; None when scoring.
        item_text: Vectors of the items' texts, float32 [B, width]; filled in by the model.
    """

    user: Tensor
    item: Tensor
    label: Tensor | None = None
    item_text: Tensor | None = None

    @classmethod
    def of(cls, interactions: Interactions, rows: NDArray[np.int64], device: torch.device) -> Batch:
        """Gather some interactions."""
        import torch

        return cls(
            user=torch.from_numpy(interactions.user[rows]).to(device),
            item=torch.from_numpy(interactions.item[rows]).to(device),
            label=torch.from_numpy(interactions.label[rows]).to(device),
        )

    def __len__(self) -> int:
        return len(self.user)


class BatchOrder:
    """The batches of every epoch.

    The order depends on seed and epoch alone, so that a resumed run meets the same batches without any
    stored generator state.
    """

    def __init__(
        self,
        interactions: Interactions,
        batching: Literal["random", "by-item"],
        batch_size: int,
        items_per_batch: int,
        seed: int,
    ) -> None:
        """Prepare the batches.

        Args:
            interactions: What is trained on.
            batching: ``random``, or ``by-item``: all interactions of some items together.
            batch_size: Interactions a batch (``random``).
            items_per_batch: Items a batch (``by-item``).
            seed: Seed of the order.
        """
        self._seed = seed
        self._batch_size = batch_size
        self._items_per_batch = items_per_batch
        self._count = len(interactions)
        self._by_item = batching == "by-item"
        self._rows = np.argsort(interactions.item, kind="stable").astype(np.int64)
        _, starts = np.unique(interactions.item[self._rows], return_index=True)
        self._bounds = np.append(starts, self._count).astype(np.int64)

    def __len__(self) -> int:
        """Batches an epoch."""
        if self._by_item:
            return math.ceil((len(self._bounds) - 1) / self._items_per_batch)
        return math.ceil(self._count / self._batch_size)

    def epoch(self, number: int, skip: int = 0) -> Iterator[NDArray[np.int64]]:
        """Rows of each batch of an epoch.

        Args:
            number: Epoch from 0.
            skip: Batches at the start that are done already.
        """
        rng = np.random.default_rng([self._seed, number])
        if self._by_item:
            items = rng.permutation(len(self._bounds) - 1)
            for at in range(skip * self._items_per_batch, len(items), self._items_per_batch):
                chosen = items[at : at + self._items_per_batch]
                yield np.concatenate([self._rows[self._bounds[i] : self._bounds[i + 1]] for i in chosen])
        else:
            order = rng.permutation(self._count).astype(np.int64)
            for at in range(skip * self._batch_size, self._count, self._batch_size):
                yield order[at : at + self._batch_size]
