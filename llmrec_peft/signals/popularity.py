"""Popularity: an item's number of interactions as a learnt weight, each example left out of its own item's count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch
    from llmrec_peft.data.interactions import Interactions


class PopularityOptions(Options):
    """Options of the popularity signal."""

    steps: int = Field(default=12, ge=1, le=40)
    """Number of count classes at most: 0, 1, 2, 3 to 4, 5 to 8, ... have a learnt weight each."""
    slope: float = 0.0
    """Initial factor on log(1 + count), which is added to the class weights; it is learnt."""


class Popularity(Signal[PopularityOptions]):
    """offset = a log(1 + n_i) + w[step of n_i], with n_i the training interactions of item i.

    In training an example's own interaction is left out of its item's count, so that an item with one interaction
    counts as new there: the weight of a new item is learnt from such examples.
    """

    summary: ClassVar[str] = "how often users interacted with an item, as learnt weights by count"
    Config: ClassVar[type[Options]] = PopularityOptions
    user_tables: ClassVar[tuple[str, ...]] = ()

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make the class weights, the slope and the frozen counts."""
        import torch
        from torch import nn

        if context.saved is not None:
            counts = torch.zeros(len(context.saved["known.count"]))
        else:
            counts = torch.from_numpy(context.learned.counts_by_item(context.num_items)).float()
        weights = nn.Embedding(self.config.steps, 1)
        nn.init.zeros_(weights.weight)
        slope = nn.ParameterDict({"slope": nn.Parameter(torch.tensor([self.config.slope]))})
        known = nn.ParameterDict({"count": nn.Parameter(counts, requires_grad=False)})
        return nn.ModuleDict({"steps": weights, "line": slope, "known": known})

    def item_offset(self, batch: Batch) -> Tensor:
        """Return the weights of the items' counts, [B]."""
        count = self.parts["known"]["count"][batch.item]
        if self.parts.training and batch.label is not None:
            count = (count - 1.0).clamp(min=0.0)
        return self._weight(count)

    def cross(self, batch: Batch, candidates: Tensor) -> Tensor | None:
        """Return, in training with shared candidates, what leaving out the example changes for its own item, [B, C]."""
        if not self.parts.training or batch.target is None or batch.candidates is None:
            return None
        count = self.parts["known"]["count"][batch.item]
        change = self._weight((count - 1.0).clamp(min=0.0)) - self._weight(count)
        whole: Tensor = change.new_zeros(len(batch), candidates.shape[1])
        return whole.scatter(1, batch.target[:, None], change[:, None])

    def remember(self, train: Interactions) -> None:
        """Count other interactions."""
        import torch

        count = self.parts["known"]["count"]
        with torch.no_grad():
            count.copy_(torch.from_numpy(train.counts_by_item(len(count))).to(count))

    def follow(self, batch: Batch) -> None:
        """Count the batch's interactions too."""
        import torch

        with torch.no_grad():
            count = self.parts["known"]["count"]
            count.index_add_(0, batch.item, torch.ones_like(batch.item, dtype=count.dtype))

    def _weight(self, count: Tensor) -> Tensor:
        """Return the weights of counts, of their shape."""
        import torch

        step = torch.where(count < 1, torch.zeros_like(count), count.clamp(min=1.0).log2().ceil() + 1.0)
        index = step.long().clamp(max=self.config.steps - 1)
        weight: Tensor = self.parts["steps"](index).squeeze(-1) + self.parts["line"]["slope"] * torch.log1p(count)
        return weight

    def report(self) -> dict[str, Any]:
        """Return the weights by count."""
        import torch

        names = ["0", "1", "2", *(f"{2 ** (s - 2) + 1}-{2 ** (s - 1)}" for s in range(3, self.config.steps))]
        starts = [0, 1, 2, *(2 ** (s - 2) + 1 for s in range(3, self.config.steps))][: self.config.steps]
        with torch.no_grad():
            device = self.parts["line"]["slope"].device
            weights = self._weight(torch.tensor(starts, dtype=torch.float32, device=device)).tolist()
        return {name: round(weight, 4) for name, weight in zip(names, weights, strict=False)}
