"""Rating: predicted stars."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from llmrec_peft.heads.contract import HeadContext, HeadOutput, Joined, TaskHead, products
from llmrec_peft.losses import loss
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch


class RatingOptions(Options):
    """Options of the rating head."""

    loss: Literal["mse", "mae", "huber"] = "mse"
    """Training loss: squared (`mse`), absolute (`mae`) or Huber's (`huber`) error."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout on the joined user and item vectors."""


class RatingHead(TaskHead[RatingOptions]):
    """ŷ = μ + offsets + ⟨user, item⟩; scores are clamped to the rating scale, the loss is not.

    References:
        Koren, Bell and Volinsky, Matrix Factorization Techniques for Recommender Systems, Computer 42(8), 2009.
    """

    summary: ClassVar[str] = "predicted stars, trained by squared, absolute or Huber error"
    Config: ClassVar[type[Options]] = RatingOptions
    metric: str = "rmse"
    lower_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "stars"

    def build(self, context: HeadContext) -> nn.ModuleDict:
        """Make μ, which starts at the training mean and is trained, and the frozen range."""
        import torch
        from torch import nn

        mean = nn.Parameter(torch.tensor([context.label_mean]))
        span = nn.Parameter(torch.tensor(context.label_range, dtype=torch.float32), requires_grad=False)
        scale = nn.ParameterDict({"mean": mean, "range": span})
        return nn.ModuleDict({"scale": scale, "dropout": nn.Dropout(self.config.dropout)})

    def forward(self, batch: Batch, user: Joined, item: Joined) -> HeadOutput:
        """Predict ratings [B], or [B, C] of candidates."""
        scale, dropout = self.parts["scale"], self.parts["dropout"]
        users, items = Joined(None, scale["mean"] + user.offset), Joined(None, item.offset, item.cross)
        if user.vector is not None and item.vector is not None:
            users.vector, items.vector = dropout(user.vector), dropout(item.vector)
        predicted = products(users, items, batch)
        value = None if batch.label is None else loss(self.config.loss)(predicted, batch.label)
        low, high = scale["range"]
        return HeadOutput(loss=value, scores=predicted.detach().clamp(float(low), float(high)))

    def base(self, batch: Batch) -> dict[str, Tensor]:
        """Return μ."""
        return {"mean rating": self.parts["scale"]["mean"]}
