"""Collaborative: user matrix U, item matrix I, biases, and what rating histories add to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from torch import Tensor, nn

_Side = Literal["none", "implicit", "explicit", "both"]


class CollaborativeOptions(Options):
    """Options of the collaborative signal."""

    factors: bool = True
    """Whether there are user and item matrices; without them only biases are learnt."""
    user_history: _Side = "both"
    """What the items that a user rated add to the user: that they were rated (`implicit`), how (`explicit`)."""
    item_history: _Side = "both"
    """What the users who rated an item add to the item."""
    items: bool = True
    """Whether items have entries of their own; off, only text and graph speak for them, which suits data
    whose items to be scored are all new."""
    init_std: float = Field(default=0.05, ge=0.0)
    """Spread of the tables' initial values."""
    item_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Chance that an item's own entries are hidden in a step, so that text and graph learn to stand in
    for them where an item is new."""


class Collaborative(Signal[CollaborativeOptions]):
    """user = U_u + history of u, item = I_i + history of i, offset = b_u + b_i + weights · statistics.

    Items and users without training interactions get zeros, whatever their table rows hold. A history
    leaves the example itself out while training (see `llmrec_peft.signals.rating_history.SideHistory`).
    """

    summary: ClassVar[str] = "user and item matrices, biases and rating histories"
    Config: ClassVar[type[Options]] = CollaborativeOptions

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make U, I, biases, one table for each kind of history, and the training interactions' sums."""
        from torch import nn

        self._sizes = (context.num_users, context.num_items)
        self._ranks = context.task == "ranking"
        users, items, dim = context.num_users, context.num_items, context.dim
        tables: dict[str, Any] = {
            "user_bias": nn.Embedding(users, 1),
            "item_bias": nn.Embedding(items, 1),
        }
        for bias in tables.values():
            nn.init.zeros_(bias.weight)
        if self.config.factors:
            sizes = {"user": users, **{f"user_{kind}": items for kind in self._kinds("user")}}
            if self.config.items:
                sizes |= {"item": items, **{f"item_{kind}": users for kind in self._kinds("item")}}
            for name, rows in sizes.items():
                tables[name] = nn.Embedding(rows, dim)
                nn.init.normal_(tables[name].weight, std=self.config.init_std)
        for side in ("user", "item"):
            tables[f"{side}_statistics"] = nn.Linear(3, 1, bias=False)
            nn.init.zeros_(tables[f"{side}_statistics"].weight)
        if context.train is not None:
            from llmrec_peft.signals.rating_history import RatingHistory

            tables["history"] = RatingHistory(context.train, users, items)
        else:
            tables["folded"] = self._empty_tables(context)
        self._hidden: Tensor | None = None
        return nn.ModuleDict(tables)

    def user(self, batch: Batch) -> Tensor | None:
        """User vectors [B, dim]."""
        if "folded" in self.parts:
            return self._folded("user", batch.user)
        return self._vectors("user", batch.user, batch.item, batch) if self.config.factors else None

    def item(self, batch: Batch) -> Tensor | None:
        """Item vectors [B, dim]; zero for hidden items."""
        if "folded" in self.parts:
            return self._folded("item", batch.item)
        self._hide(batch)
        if not self.config.factors or not self.config.items:
            return None
        vectors = self._vectors("item", batch.item, batch.user, batch)
        return vectors if self._hidden is None else vectors * self._hidden.unsqueeze(-1)

    def offset(self, batch: Batch) -> Tensor:
        """Biases and weighted statistics, [B]."""
        if "folded" in self.parts:
            folded = self.parts["folded"]
            known: Tensor = folded["user_offset"][batch.user] + folded["item_offset"][batch.item]
            return known
        if not self.config.factors:
            self._hide(batch)
        of_user = self._bias("user", batch.user, batch)
        if not self.config.items:
            return of_user
        of_item = self._bias("item", batch.item, batch)
        return of_user + (of_item if self._hidden is None else of_item * self._hidden)

    def fold(self) -> None:
        """Fill plain tables with every user's and item's vector and offset; drop the interactions."""
        import torch

        if "folded" in self.parts:
            return
        tables = {}
        with torch.no_grad():
            for side in ("user", "item"):
                bias = self.parts[f"{side}_bias"].weight
                rows = torch.arange(len(bias), device=bias.device)
                whole = Batch(user=rows, item=rows)
                kept = side == "user" or self.config.items
                if self.config.factors and kept:
                    tables[side] = self._vectors(side, rows, rows, whole)
                tables[f"{side}_offset"] = self._bias(side, rows, whole) * float(kept)
        self.parts["folded"] = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(table, requires_grad=False) for name, table in tables.items()}
        )
        del self.parts["history"]

    def remember(self, train: Interactions) -> None:
        """Take interactions as the histories, in place of folded tables or of those trained on."""
        from llmrec_peft.signals.rating_history import RatingHistory

        device = self.parts["user_bias"].weight.device
        history = RatingHistory(train, *self._sizes).to(device)
        for side in ("user", "item"):
            getattr(history, f"{side}s").settle(*self._tables(side))
        self.parts["history"] = history
        if "folded" in self.parts:
            del self.parts["folded"]

    def follow(self, batch: Batch) -> None:
        """Let statistics and history sums follow the batch's labels."""
        import torch

        assert batch.label is not None  # noqa: S101 - outcomes are what is followed
        history = self.parts["history"]
        with torch.no_grad():
            of_user, of_item = history.residuals(batch.user, batch.item, batch.label)
            history.users.add(batch.user, batch.item, of_user, *self._tables("user"))
            history.items.add(batch.item, batch.user, of_item, *self._tables("item"))

    def _tables(self, side: str) -> list[Tensor | None]:
        """Tables over which a side's implicit and explicit sums go."""
        names = (f"{side}_implicit", f"{side}_explicit")
        return [self.parts[name].weight.detach() if name in self.parts else None for name in names]

    def _kinds(self, side: str) -> tuple[str, ...]:
        """Kinds of histories of one side; a ranked item must not tell who met it, nor labels that are all alike."""
        chosen: _Side = self.config.user_history if side == "user" else self.config.item_history
        kinds = {"none": (), "implicit": ("implicit",), "explicit": ("explicit",), "both": ("implicit", "explicit")}
        if self._ranks:
            return () if side == "item" or "implicit" not in kinds[chosen] else ("implicit",)
        return kinds[chosen]

    def _vectors(self, side: str, own: Tensor, other: Tensor, batch: Batch) -> Tensor:
        """Table row plus history sums of one side, [B, dim]; zero without training interactions."""
        tables, history = self.parts, getattr(self.parts["history"], f"{side}s")
        residual = self._residual(side, batch)
        left_out = None if residual is None else other
        vectors: Tensor = tables[side](own)
        for kind in self._kinds(side):
            table = tables[f"{side}_{kind}"].weight
            if kind == "implicit":
                vectors = vectors + history.implicit(table, own, left_out)
            else:
                vectors = vectors + history.explicit(table, own, left_out, residual)
        masked: Tensor = vectors * (history.count[own] > 0).unsqueeze(-1)
        return masked

    def _bias(self, side: str, own: Tensor, batch: Batch) -> Tensor:
        """Bias and weighted statistics of one side, [B]; zero without training interactions."""
        history = getattr(self.parts["history"], f"{side}s")
        statistics = history.statistics(own, self._residual(side, batch))
        bias: Tensor = (self.parts[f"{side}_bias"](own) + self.parts[f"{side}_statistics"](statistics)).squeeze(-1)
        masked: Tensor = bias * (history.count[own] > 0)
        return masked

    def _residual(self, side: str, batch: Batch) -> Tensor | None:
        """The examples' residuals where they are part of the histories: while training."""
        if not self.parts.training or batch.label is None:
            return None
        of_user, of_item = self.parts["history"].residuals(batch.user, batch.item, batch.label)
        residual: Tensor = of_user if side == "user" else of_item
        return residual

    def _hide(self, batch: Batch) -> None:
        """Draw which of the batch's items are hidden: one draw an item, so that all its examples agree."""
        import torch

        self._hidden = None
        if self.parts.training and self.config.item_dropout > 0.0:
            rows = len(self.parts["item_bias"].weight)
            shown = torch.rand(rows, device=batch.item.device) >= self.config.item_dropout
            self._hidden = shown[batch.item].float()

    def _folded(self, side: str, index: Tensor) -> Tensor | None:
        folded = self.parts["folded"]
        return folded[side][index] if side in folded else None

    def _empty_tables(self, context: SignalContext) -> nn.ParameterDict:
        import torch

        shapes: dict[str, tuple[int, ...]] = {
            "user_offset": (context.num_users,),
            "item_offset": (context.num_items,),
        }
        if self.config.factors:
            shapes["user"] = (context.num_users, context.dim)
            if self.config.items:
                shapes["item"] = (context.num_items, context.dim)
        return torch.nn.ParameterDict(
            {name: torch.nn.Parameter(torch.zeros(shape), requires_grad=False) for name, shape in shapes.items()}
        )
