"""Entry weights: how much each entry of a history counts, by its place and its label."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmrec_peft.signals.contract import SignalContext

if TYPE_CHECKING:
    from llmrec_peft.data.batches import Batch


class EntryWeights(nn.Module):
    """weight = d_p (c + e · (label − mean)) of the p-th newest entry; d_p alone where there are no labels.

    The places' d, c and e are learnt. A place without an entry has a weight, too: what it is multiplied with is zero.
    """

    def __init__(self, context: SignalContext, length: int, decay: float, labels: bool) -> None:
        """Make the weights.

        Args:
            context: The signal's; the mean label is that of its training interactions.
            length: Entries that are read, the newest.
            decay: Initial weight of an entry relative to the next newer one.
            labels: Whether labels are read, where there are some.
        """
        super().__init__()
        self.place = nn.Parameter(torch.arange(min(length, context.history_length)) * math.log(decay))
        self.label: nn.Parameter | None = None
        if labels and context.task != "ranking":
            mean = 0.0 if context.train is None else float(context.train.label.mean())
            self.label = nn.Parameter(torch.tensor([1.0, 1.0]))
            self.mean = nn.Parameter(torch.tensor([mean]), requires_grad=False)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the items of the entries that are read, int64 [B, L], and their weights, float32 [B, L]."""
        assert batch.history is not None  # noqa: S101 - asked before
        length = len(self.place)
        history = batch.history[:, -length:]
        weight = self.place.exp()[: history.shape[1]].flip(0).expand(history.shape)
        if self.label is not None and batch.history_label is not None:
            label = batch.history_label[:, -length:] - self.mean
            weight = weight * (self.label[0] + self.label[1] * label)
        return history, weight

    def report(self) -> dict[str, Any]:
        """Return the weights of places, those relative to the newest, and of labels."""
        places = (self.place - self.place[0]).detach().exp().tolist()
        figures: dict[str, Any] = {"place": [round(value, 4) for value in places]}
        if self.label is not None:
            figures["label"] = [round(value, 4) for value in self.label.tolist()]
        return figures
