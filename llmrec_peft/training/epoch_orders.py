"""Epoch orders: the batches of each epoch of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_peft.data.batches import BatchOrder

if TYPE_CHECKING:
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.recipe.sections import TrainingSection


class EpochOrders:
    """The batches of every epoch: of all examples, or, once the adapter is frozen, of each user's newest.

    The latter are always shuffled: batches by item save encoding, which no longer takes place, and with Adam a few
    batches with popular items get no more weight than many without (validation NDCG@10 0.068 instead of 0.115).
    """

    def __init__(self, train: Interactions, section: TrainingSection, seed: int, whole_epochs: int) -> None:
        """Make both orders.

        Args:
            train: Interactions.
            section: Size of a batch, how batches are made, and how many of each user's newest examples stay.
            seed: Seed of both orders.
            whole_epochs: Epochs of all examples, before those of the newest.
        """
        sizes = (section.batch_size, section.items_per_batch, seed)
        self._all = BatchOrder(train, section.batching, *sizes)
        self._newest = self._all
        if section.newest is not None:
            self._newest = BatchOrder(train, "random", *sizes, among=train.newest(section.newest))
        self._whole_epochs = whole_epochs

    def of(self, epoch: int) -> BatchOrder:
        """Return the batch order of an epoch, counted from 0."""
        return self._all if epoch < self._whole_epochs else self._newest

    def batches(self, epoch: int) -> int:
        """Return the number of batches of an epoch, counted from 0."""
        return len(self.of(epoch))
