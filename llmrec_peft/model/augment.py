"""Augment: random changes of examples in training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from llmrec_peft.data.batches import Batch
from llmrec_peft.heads.contract import Joined


@dataclass(frozen=True)
class Augment:
    """Settings of the changes, see the recipe's `training.augment`; the defaults change nothing.

    Attributes:
        history_mask: Probability that an entry of a history is hidden.
        history_crop: Probability that a history is cut to a random number of its newest entries.
        mixup: Parameter of the Beta distribution of the mixing weights; 0 for no mixing.
        stored_texts: Whether texts beside a batch's own items are read as most recently encoded, without gradient.
        history_empty: Probability that a whole history is hidden.
        history_stale: Probability that a random number of a history's newest entries is hidden.
    """

    history_mask: float = 0.0
    history_crop: float = 0.0
    mixup: float = 0.0
    stored_texts: bool = False
    history_empty: float = 0.0
    history_stale: float = 0.0

    def histories(self, batch: Batch) -> Batch:
        """Hide entries of histories at random; an entry that is cut or hidden becomes item 0."""
        if batch.history is None or batch.history.numel() == 0:
            return batch
        item = batch.history
        rows, length = item.shape
        if self.history_crop > 0.0:
            count = (item > 0).sum(1)
            keep = 1 + (torch.rand(rows, device=item.device) * count).long()  # the newest 1 to n of n entries
            cut = torch.rand(rows, device=item.device) < self.history_crop
            place = torch.arange(length, device=item.device)
            item = torch.where(cut[:, None] & (place[None, :] < length - keep[:, None]), torch.zeros_like(item), item)
        if self.history_stale > 0.0:
            count = (item > 0).sum(1)
            gone = (torch.rand(rows, device=item.device) * (count + 1)).long()  # the newest 0 to n of n entries
            stale = torch.rand(rows, device=item.device) < self.history_stale
            place = torch.arange(length, device=item.device)
            hidden = stale[:, None] & (place[None, :] >= length - gone[:, None])
            item = torch.where(hidden, torch.zeros_like(item), item)
        if self.history_empty > 0.0:
            empty = torch.rand(rows, 1, device=item.device) < self.history_empty
            item = torch.where(empty, torch.zeros_like(item), item)
        if self.history_mask > 0.0:
            hidden = torch.rand(item.shape, device=item.device) < self.history_mask
            item = torch.where(hidden, torch.zeros_like(item), item)
        return batch if item is batch.history else replace(batch, history=item)

    def mixed(self, batch: Batch, user: Joined, item: Joined) -> tuple[Batch, Joined, Joined]:
        """Mix each pair's vectors (its prompt's too), offsets and label with another pair's of the batch.

        References:
            Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018 (here on vectors, not inputs).
        """
        if self.mixup == 0.0 or batch.label is None or len(batch) < 2:  # noqa: PLR2004 - mixing needs two pairs
            return batch, user, item
        device = batch.label.device
        alpha = torch.full((len(batch),), self.mixup)
        share = torch.distributions.Beta(alpha, alpha).sample().to(device)
        other = torch.randperm(len(batch), device=device)

        def mix(values: Tensor) -> Tensor:
            weight = share.reshape(-1, *[1] * (values.ndim - 1))
            return weight * values + (1.0 - weight) * values[other]

        def mixed_side(side: Joined) -> Joined:
            return Joined(None if side.vector is None else mix(side.vector), mix(side.offset))

        prompt = {view: mix(vectors) for view, vectors in batch.vectors.items() if view == "prompt"}
        return replace(batch, label=mix(batch.label)).with_vectors(**prompt), mixed_side(user), mixed_side(item)
