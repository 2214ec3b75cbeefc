"""Text: vectors of items' texts, and of users', from the language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext
from llmrec_peft.signals.parts.standard import empty_standard, standard, standardized

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch


class TextOptions(Options):
    """Options of the text signal."""

    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout on the text vectors."""
    init_std: float = Field(default=0.02, ge=0.0)
    """Standard deviation of the projections' initial weights."""
    users: bool = True
    """Whether users' texts are read too, if the recipe has a view of them (views.user)."""


class Text(Signal[TextOptions]):
    """item = W z and offset = w · z of an item's text vector z, user = V z and offset += v · z of a user's.

    Sentence encoders put all texts of one kind close together. So z is centred on the mean of the training items'
    untuned vectors (of all users' texts for users) and scaled by their mean distance from it; projections start from
    the differences between texts.
    """

    summary: ClassVar[str] = "the language model's vectors of items' texts, and of users' texts if there are any"
    Config: ClassVar[type[Options]] = TextOptions
    user_tables: ClassVar[tuple[str, ...]] = ()
    reads_text: ClassVar[bool] = True
    reads_user_text: ClassVar[bool] = True

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make projections [dim, width], the offsets' weights [1, width] and the frozen centres and scales."""
        import torch
        from torch import nn

        parts: dict[str, Any] = {"dropout": nn.Dropout(self.config.dropout)}
        if context.saved is not None:
            parts["standard"] = empty_standard(context.saved["standard.centre"])
            if "user_standard.centre" in context.saved:
                parts["user_standard"] = empty_standard(context.saved["user_standard.centre"])
        else:
            trained = torch.from_numpy(context.learned.counts_by_item(context.num_items) > 0)
            parts["standard"] = standard(context.item_text.cpu()[trained])
            if context.user_text is not None and self.config.users:
                parts["user_standard"] = standard(context.user_text.cpu())
        for side in ("", "user_"):
            if f"{side}standard" in parts:
                width = len(parts[f"{side}standard"]["centre"])
                projection, offset = nn.Linear(width, context.dim), nn.Linear(width, 1, bias=False)
                nn.init.normal_(projection.weight, std=self.config.init_std)
                nn.init.zeros_(projection.bias)
                nn.init.zeros_(offset.weight)
                parts |= {f"{side}projection": projection, f"{side}offset": offset}
        return nn.ModuleDict(parts)

    def _item(self, batch: Batch) -> Tensor:
        vectors: Tensor = self.parts["dropout"](standardized(self.parts["standard"], batch.vectors["item"]))
        return vectors

    def _user(self, batch: Batch) -> Tensor | None:
        if "user_standard" not in self.parts or "user" not in batch.vectors:
            return None
        vectors: Tensor = self.parts["dropout"](standardized(self.parts["user_standard"], batch.vectors["user"]))
        return vectors

    def item(self, batch: Batch) -> Tensor:
        """Return projected vectors of items' texts, [B, dim]."""
        vectors: Tensor = self.parts["projection"](self._item(batch))
        return vectors

    def user(self, batch: Batch) -> Tensor | None:
        """Return projected vectors of users' texts, [B, dim]; None if none are read."""
        texts = self._user(batch)
        return None if texts is None else self.parts["user_projection"](texts)

    def item_offset(self, batch: Batch) -> Tensor:
        """Return what items' texts add to their scores, [B]."""
        offset: Tensor = self.parts["offset"](self._item(batch)).squeeze(-1)
        return offset

    def user_offset(self, batch: Batch) -> Tensor | None:
        """Return what users' texts add to their scores, [B]; None if none are read."""
        texts = self._user(batch)
        return None if texts is None else self.parts["user_offset"](texts).squeeze(-1)
