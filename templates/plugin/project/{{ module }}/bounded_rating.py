"""Bounded rating: stars that cannot leave the scale, by a sigmoid."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from llmrec_peft.plugins import Batch, HeadContext, HeadOutput, Joined, Options, TaskHead, products

if TYPE_CHECKING:
    from torch import Tensor, nn


class BoundedRatingOptions(Options):
    """There is nothing to choose."""


class BoundedRating(TaskHead[BoundedRatingOptions]):
    """ŷ = low + (high − low) · σ(b + offsets + ⟨user, item⟩), trained by squared error."""

    summary: ClassVar[str] = "predicted stars inside the scale, by a sigmoid"
    Config: ClassVar[type[Options]] = BoundedRatingOptions
    metric: ClassVar[str] = "rmse"
    lower_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "log-odds"

    def build(self, context: HeadContext) -> nn.ModuleDict:
        """Make b, which starts where the training mean is, and the frozen range."""
        import torch
        from torch import nn

        low, high = context.label_range
        span = max(high - low, 1e-9)  # a head that is built to be loaded does not know the scale yet
        share = min(max((context.label_mean - low) / span, 0.01), 0.99)
        bias = nn.Parameter(torch.logit(torch.tensor([share])))
        scale = nn.Parameter(torch.tensor([low, high]), requires_grad=False)
        return nn.ModuleDict({"scale": nn.ParameterDict({"bias": bias, "range": scale})})

    def base(self, batch: Batch) -> dict[str, Tensor]:
        """b, which the head adds to every score."""
        return {"bias": self.parts["scale"]["bias"]}

    def forward(self, batch: Batch, user: Joined, item: Joined) -> HeadOutput:
        """Predict ratings [B], or [B, C] of candidates."""
        scale = self.parts["scale"]
        score = scale["bias"] + products(user, item, batch)
        low, high = scale["range"]
        predicted = low + (high - low) * score.sigmoid()
        learns = batch.label is not None and batch.candidates is None
        loss = ((predicted - batch.label) ** 2).mean() if learns else None
        return HeadOutput(loss=loss, scores=predicted.detach())
