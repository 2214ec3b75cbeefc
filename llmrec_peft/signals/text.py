"""Text: what the language model reads in an item's text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch


class TextOptions(Options):
    """Options of the text signal."""

    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout on the text vector."""
    init_std: float = Field(default=0.02, ge=0.0)
    """Spread of the projection's initial weights."""


class Text(Signal[TextOptions]):
    """item = W z and offset = w · z, where z is the item's text vector, centred and scaled.

    Sentence encoders put all texts of one kind close together; centring on the mean of the training items'
    untuned vectors and scaling by their mean length lets the projection start from what differs.
    """

    summary: ClassVar[str] = "the language model's vector of an item's text"
    Config: ClassVar[type[Options]] = TextOptions
    reads_text: ClassVar[bool] = True

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make the projection [dim, width], the offset's weights [1, width] and the frozen centre and scale."""
        import torch
        from torch import nn

        if context.saved is not None:
            width = len(context.saved["standard.centre"])
            centre, scale = torch.zeros(width), torch.ones(1)
        else:
            assert context.text is not None  # noqa: S101 - the model encodes texts for a signal that reads them
            assert context.train is not None  # noqa: S101 - a fresh signal has something to learn from
            width = context.text.shape[1]
            trained = torch.from_numpy(context.train.counts_by_item(context.num_items) > 0)
            vectors = context.text.cpu()[trained]
            centre = vectors.mean(0)
            scale = (vectors - centre).norm(dim=1).mean().clamp(min=1e-6).reshape(1)
        projection = nn.Linear(width, context.dim)
        offset = nn.Linear(width, 1, bias=False)
        nn.init.normal_(projection.weight, std=self.config.init_std)
        nn.init.zeros_(projection.bias)
        nn.init.zeros_(offset.weight)
        frozen = nn.ParameterDict(
            {
                "centre": nn.Parameter(centre, requires_grad=False),
                "scale": nn.Parameter(scale, requires_grad=False),
            }
        )
        dropout = nn.Dropout(self.config.dropout)
        return nn.ModuleDict({"projection": projection, "offset": offset, "standard": frozen, "dropout": dropout})

    def _standardized(self, batch: Batch) -> Tensor:
        assert batch.item_text is not None  # noqa: S101 - see `reads_text`
        standard = self.parts["standard"]
        vectors: Tensor = self.parts["dropout"]((batch.item_text - standard["centre"]) / standard["scale"])
        return vectors

    def item(self, batch: Batch) -> Tensor:
        """Projected text vectors [B, dim]."""
        vectors: Tensor = self.parts["projection"](self._standardized(batch))
        return vectors

    def offset(self, batch: Batch) -> Tensor:
        """How well liked an item with such a text is, [B]."""
        offset: Tensor = self.parts["offset"](self._standardized(batch)).squeeze(-1)
        return offset
