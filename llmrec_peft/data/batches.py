"""Batches: which interactions go into which step, as a pure function of seed and epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.order import stable_order

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Batching = Literal["random", "by-item", "by-user"]
"""What a batch is made of: shuffled interactions, or all interactions of some items or of some users."""


@dataclass
class Batch:
    """Examples of one step; fields that nothing reads are None.

    Attributes:
        user: User indices, int64 [B].
        item: Item indices, int64 [B]; 0 for an item that is unknown in training.
        label: Ratings or clicks, float32 [B]; None when scoring.
        history: Items of the user's history before the example, newest last, int64 [B, L]; 0 for no entry.
        history_label: Their labels, float32 [B, L].
        history_age: Days from them to the example, float32 [B, L]; None if times are not known.
        confidence: How often or how long each example happened, float32 [B]; None if it is not known.
        time: Time of each example, int64 [B], in the unit of the interactions; None if it is not known.
        vectors: Vectors of texts by view, float32; filled in by the model (`llmrec_peft.model.text_source`):
            ``item`` [B, width], ``candidates`` [C, width], ``history`` [B, L, width], ``user`` [B, width] and
            ``prompt`` [B, width].
        example: Row of each example in the whole dataset, int64 [B]: the key of its own texts.
        candidates: Items that are scored or ranked for all examples, int64 [C].
        item_key: Key of each item's text if it is not its index, int64 [B]: items added to a run have index 0.
        candidate_key: The same of the candidates, int64 [C].
        log_q: Log of each candidate's expected frequency in a step, float32 [C].
        target: Place of each example's item in `candidates`, int64 [B].
        left_out: Items of each user's remembered interactions (`Signal.remember`) that are treated as unseen, int64
            [B, K];
            0 for none.
        left_out_label: Their labels, float32 [B, K].
        teacher: Raw scores to keep to (`Interactions.teacher`), float32 [B], NaN where none.
    """

    user: Tensor
    item: Tensor
    label: Tensor | None = None
    history: Tensor | None = None
    history_label: Tensor | None = None
    history_age: Tensor | None = None
    time: Tensor | None = None
    vectors: Mapping[str, Tensor] = field(default_factory=dict)
    example: Tensor | None = None
    candidates: Tensor | None = None
    item_key: Tensor | None = None
    candidate_key: Tensor | None = None
    log_q: Tensor | None = None
    target: Tensor | None = None
    left_out: Tensor | None = None
    left_out_label: Tensor | None = None
    confidence: Tensor | None = None
    teacher: Tensor | None = None

    @classmethod
    def of(
        cls,
        interactions: Interactions,
        rows: NDArray[np.int64],
        device: torch.device,
        history_length: int | None = None,
    ) -> Batch:
        """Gather some interactions.

        Args:
            interactions: Interactions to take from.
            rows: Rows to gather.
            device: Device of the tensors.
            history_length: Entries kept of a history; None if no history is read.
        """
        import torch

        batch = cls(
            user=torch.from_numpy(interactions.user[rows]).to(device),
            item=torch.from_numpy(interactions.item[rows]).to(device),
            label=torch.from_numpy(interactions.label[rows]).to(device),
            example=torch.from_numpy(interactions.rows[rows]).to(device),
            time=torch.from_numpy(interactions.timestamp[rows]).to(device),
            teacher=None if interactions.teacher is None else torch.from_numpy(interactions.teacher[rows]).to(device),
        )
        if interactions.confidence is not None:
            batch.confidence = torch.from_numpy(interactions.confidence[rows]).to(device)
        if history_length is not None and interactions.history is not None:
            batch.read(interactions.history.take(rows), history_length, interactions.timestamp[rows])
        return batch

    def read(self, histories: Histories, length: int, now: NDArray[np.int64] | None = None) -> None:
        """Set every example's history.

        Args:
            histories: History of each example's user.
            length: Entries kept, the newest.
            now: The examples' times in seconds, [B]; None if they are not known.
        """
        import torch

        newest = histories.newest(length)
        item, label = newest.padded()
        ages = None if now is None else newest.ages(now)
        device = self.item.device
        self.history = torch.from_numpy(item).to(device)
        self.history_label = torch.from_numpy(label).to(device)
        self.history_age = None if ages is None else torch.from_numpy(ages).to(device)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        import torch

        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        vectors = {view: vectors.to(device) for view, vectors in self.vectors.items()}
        return Batch(**{**vars(self), **moved, "vectors": vectors})

    def with_vectors(self, **vectors: Tensor) -> Batch:
        """Return the batch with further vectors of texts, by view."""
        return replace(self, vectors={**self.vectors, **vectors})

    def pairs(self) -> Batch:
        """Return the same examples with their own items only, without candidates."""
        if self.candidates is None:
            return self
        vectors = {view: value for view, value in self.vectors.items() if view != "candidates"}
        return replace(self, candidates=None, candidate_key=None, target=None, log_q=None, vectors=vectors)

    def __len__(self) -> int:
        return len(self.user)


class BatchOrder:
    """The batches of every epoch.

    The order depends on seed and epoch alone, so that a resumed run sees the same batches without any stored
    generator state.

    Attributes:
        item: Items of the examples, int64 [n].
        by_item: Whether batches are made of items, all equally frequent, rather than of examples.
    """

    def __init__(
        self,
        interactions: Interactions,
        batching: Batching,
        batch_size: int,
        seed: int,
        among: NDArray[np.int64] | None = None,
    ) -> None:
        """Prepare the batches.

        Args:
            interactions: Interactions that are trained on.
            batching: ``random``, or all interactions of some items (``by-item``) or users (``by-user``) together.
            batch_size: Interactions, items or users per batch.
            seed: Seed of the order.
            among: Rows that are examples; None for all.
        """
        self._seed = seed
        self._batch_size = batch_size
        self._among = among
        self._count = len(interactions) if among is None else len(among)
        self.item = interactions.item if among is None else interactions.item[among]
        self.by_item = batching == "by-item"
        self._whole = batching != "random"
        if self._whole:
            group = self.item if self.by_item else interactions.user[slice(None) if among is None else among]
            self._rows = stable_order(group)
            self._bounds = np.flatnonzero(np.diff(group[self._rows], prepend=-1, append=-1))
            self._count = len(self._bounds) - 1
            self._rows = self._given(self._rows)

    def _given(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return rows of the interactions for rows of the examples."""
        return rows if self._among is None else self._among[rows]

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return math.ceil(self._count / self._batch_size)

    def epoch(self, number: int, skip: int = 0) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of each batch of an epoch.

        Args:
            number: Epoch from 0.
            skip: Batches at the start that are already done.
        """
        order = np.random.default_rng([self._seed, number]).permutation(self._count)
        for at in range(skip * self._batch_size, self._count, self._batch_size):
            chosen = order[at : at + self._batch_size]
            if self._whole:
                yield np.concatenate([self._rows[self._bounds[i] : self._bounds[i + 1]] for i in chosen])
            else:
                yield self._given(chosen)
