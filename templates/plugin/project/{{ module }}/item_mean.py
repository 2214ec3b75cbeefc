"""Item mean: how an item was rated on average, times one learnt weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from llmrec_peft.plugins import Batch, Options, Signal, SignalContext
from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor, nn


class ItemMeanOptions(Options):
    """Options of the item mean."""

    shrink: float = Field(default=5.0, ge=0.0)
    """Average ratings that are added to an item's own, so that few ratings say little."""


class ItemMean(Signal[ItemMeanOptions]):
    """offset = w · Σ (r − μ) / (n + shrink) over the training ratings r of the item, the example's own left out."""

    summary: ClassVar[str] = "how an item was rated on average"
    Config: ClassVar[type[Options]] = ItemMeanOptions
    user_tables: ClassVar[tuple[str, ...] | None] = ()

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make w, each item's mean, and, where it is about to be trained, the sums that a rating is taken out of."""
        import numpy as np
        import torch
        from torch import nn

        weight = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(weight.weight)
        parts: dict[str, Any] = {"weight": weight}
        means = torch.zeros(context.num_items)
        if context.train is not None:
            train, average = context.train, float(context.train.label.mean())
            count = train.counts_by_item(context.num_items)
            total = np.bincount(train.item, train.label - average, context.num_items)
            means = torch.from_numpy(total / np.maximum(count + self.config.shrink, 1e-9)).float()
            sums = {"count": torch.from_numpy(count).float(), "total": torch.from_numpy(total).float()}
            parts["sums"] = _frozen({**sums, "average": torch.tensor([average])})
        parts["known"] = _frozen({"mean": means})
        return nn.ModuleDict(parts)

    def item_offset(self, batch: Batch) -> Tensor:
        """Weighted means of the items, [B]."""
        mean = self.parts["known"]["mean"][batch.item]
        if self.parts.training and batch.label is not None:
            sums = self.parts["sums"]
            total = sums["total"][batch.item] - (batch.label - sums["average"])
            mean = total / (sums["count"][batch.item] - 1.0 + self.config.shrink).clamp(min=1e-9)
        offset: Tensor = self.parts["weight"](mean.unsqueeze(-1)).squeeze(-1)
        return offset

    def fold(self) -> None:
        """Forget the sums: the rating of an item that was rated once could be read off them."""
        if "sums" in self.parts:
            del self.parts["sums"]

    def report(self) -> dict[str, Any]:
        """The learnt weight."""
        return {"weight": round(float(self.parts["weight"].weight.detach()), 4)}


def _frozen(tensors: dict[str, Tensor]) -> nn.ParameterDict:
    from torch import nn

    return nn.ParameterDict({name: nn.Parameter(tensor, requires_grad=False) for name, tensor in tensors.items()})
