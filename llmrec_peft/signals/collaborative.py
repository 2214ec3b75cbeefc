"""Collaborative: user matrix U, item matrix I, biases, and sums over rating histories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.signals.parts.rating_history import LeftOut

_Side = Literal["none", "implicit", "explicit", "both"]


MANY_INTERACTIONS = 1 << 18
"""Interactions up to which histories are whole by default: a step over all of them then takes some milliseconds."""
MANY_ROWS = 1 << 16
"""Items from which on a step draws numbers for its own items alone."""
LONG_HISTORY = 128
"""Entries of a history that are summed by default where there are more interactions."""


class CollaborativeOptions(Options):
    """Options of the collaborative signal."""

    factors: bool = True
    """Whether there are user and item matrices; without them only biases are trained."""
    user_history: _Side = "both"
    """What the items that a user rated add to the user: that they were rated (`implicit`), how they were rated
    (`explicit`), `both` or `none`."""
    item_history: _Side = "both"
    """What the users who rated an item add to the item; values as for `user_history`."""
    longest_history: Annotated[int, Field(ge=1)] | Literal["auto", "all"] = "auto"
    """Entries of a user's or an item's history that are summed, the newest, or `all`; counts and mean ratings are over
    all entries. It bounds what a step with popular items costs. `auto` takes all where the final model learns from a
    quarter of a million interactions (262,144) at most, and 128 where there are more."""
    items: bool = True
    """Whether items have table rows of their own; if false, only text and graph describe them, which suits data
    in which all items to be scored are new."""
    init_std: float = Field(default=0.05, ge=0.0)
    """Standard deviation of the tables' initial values."""
    item_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Probability that an item's own table row is hidden in a training step, so that text and graph learn to
    replace it for new items."""
    start: Literal["none", "mf"] = "none"
    """Initial values of U, I and biases: near zero (`none`), or a matrix factorization of the training interactions
    (`mf`): of ratings, of clicks in log-odds, or, for rankings, of which user interacted with which item."""
    start_rank: int = Field(default=16, ge=1, le=512)
    """Columns of U and I that the factorization fills (`mf`), at most fusion.dim; the rest start near zero."""
    start_ridge: float = Field(default=4.0, gt=0.0)
    """Ridge penalty of that factorization (`mf`); rankings do not use it."""


class Collaborative(Signal[CollaborativeOptions]):
    """user = U_u + history of u, item = I_i + history of i, offset = b_u + b_i + weights · statistics.

    Items and users without training interactions get zeros, whatever their table rows contain; interactions that
    become known later (`follow`) change only their histories and statistics. In training, an example is left out of
    its own histories (see `llmrec_peft.signals.parts.rating_history.SideHistory`).
    """

    summary: ClassVar[str] = "user and item matrices, biases and rating histories"
    Config: ClassVar[type[Options]] = CollaborativeOptions
    user_tables: ClassVar[tuple[str, ...]] = ("folded.user", "folded.user_offset")
    learning_parts: ClassVar[tuple[str, ...]] = tuple(
        f"{side}{part}" for side in ("user", "item") for part in ("", "_bias", "_implicit", "_explicit", "_statistics")
    )
    _learned_by_run: int | None = None

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make U, I, biases, one table for each kind of history, and the index of training interactions."""
        from torch import nn

        from llmrec_peft.signals.parts.row_table import RowTable

        self._sizes = (context.num_users, context.num_items)
        self._ranks = context.task == "ranking" or context.listwise
        users, items, dim = context.num_users, context.num_items, context.dim
        tables: dict[str, Any] = {
            "user_bias": RowTable(users, 1),
            "item_bias": RowTable(items, 1),
        }
        for bias in tables.values():
            nn.init.zeros_(bias.weight)
        if self.config.factors:
            sizes = {"user": users, **{f"user_{kind}": items for kind in self._kinds("user")}}
            if self.config.items:
                sizes |= {"item": items, **{f"item_{kind}": users for kind in self._kinds("item")}}
            for name, rows in sizes.items():
                tables[name] = RowTable(rows, dim)
                nn.init.normal_(tables[name].weight, std=self.config.init_std)
        for side in ("user", "item"):
            tables[f"{side}_statistics"] = nn.Linear(3, 1, bias=False)
            nn.init.zeros_(tables[f"{side}_statistics"].weight)
        if not self.config.items:  # no item table reads them then
            for name in ("item_bias", "item_statistics"):
                tables[name].requires_grad_(False)
        self._trained_on = context.train
        self._learned_by_run = context.learned_by_run
        if context.train is not None:
            from llmrec_peft.signals.parts.rating_history import RatingHistory

            if self.config.start == "mf":
                self._start(tables, context.train, context)
            tables["history"] = RatingHistory(context.train, users, items, longest=self._longest(context.train))
        else:
            tables["folded"] = self._empty_tables(context)
        self._hidden: Tensor | None = None
        return nn.ModuleDict(tables)

    def _start(self, tables: dict[str, Any], train: Interactions, context: SignalContext) -> None:
        """Fill U, I and biases from a matrix factorization."""
        import torch

        from llmrec_peft.signals.parts.matrix_factorization import factorized

        rank = min(self.config.start_rank, context.dim)
        factors = factorized(train, *self._sizes, rank, self.config.start_ridge, context.task, context.seed)
        with torch.no_grad():
            for side, bias, rows in (
                ("user", factors.user_bias, factors.user),
                ("item", factors.item_bias, factors.item),
            ):
                tables[f"{side}_bias"].weight[:, 0] = torch.from_numpy(bias)
                if "user" in tables and "item" in tables:  # factors of one side say nothing without the other's
                    tables[side].weight[:, :rank] = torch.from_numpy(rows)

    def user(self, batch: Batch) -> Tensor | None:
        """Return user vectors [B, dim]."""
        if "folded" in self.parts:
            return self._folded("user", batch.user) if "user" in self.parts["folded"] else None
        return self._vectors("user", batch.user, batch) if self.config.factors else None

    def item(self, batch: Batch) -> Tensor | None:
        """Return item vectors [B, dim]; zero for hidden items."""
        if "folded" in self.parts:
            return self._folded("item", batch.item) if "item" in self.parts["folded"] else None
        self._hide(batch)
        if not self.config.factors or not self.config.items:
            return None
        vectors = self._vectors("item", batch.item, batch)
        return vectors if self._hidden is None else vectors * self._hidden.unsqueeze(-1)

    def user_offset(self, batch: Batch) -> Tensor:
        """Return users' biases and weighted statistics, [B]."""
        if "folded" in self.parts:
            return self._folded("user_offset", batch.user)
        return self._bias("user", batch.user, batch)

    def item_offset(self, batch: Batch) -> Tensor | None:
        """Return items' biases and weighted statistics, [B]; zero for hidden items."""
        if "folded" in self.parts:
            return self._folded("item_offset", batch.item)
        if not self.config.factors:
            self._hide(batch)
        if not self.config.items:
            return None
        of_item = self._bias("item", batch.item, batch)
        return of_item if self._hidden is None else of_item * self._hidden

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
                    tables[side] = self._vectors(side, rows, whole)
                tables[f"{side}_offset"] = self._bias(side, rows, whole) * float(kept)
        self.parts["folded"] = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(table, requires_grad=False) for name, table in tables.items()}
        )
        del self.parts["history"]
        self._trained_on = None

    def remember(self, train: Interactions) -> None:
        """Use these interactions as the histories, in place of folded tables or of the training interactions.

        Means stay those of training; rows that were not trained are treated as zero.
        """
        from llmrec_peft.signals.parts.rating_history import RatingHistory

        device = self.parts["user_bias"].weight.device
        longest = self._longest(self._trained_on or train)
        history = RatingHistory(train, *self._sizes, self._trained_on, longest).to(device)
        for side in ("user", "item"):
            getattr(history, f"{side}s").settle(*self._tables(side))
        self.parts["history"] = history
        if "folded" in self.parts:
            del self.parts["folded"]

    def follow(self, batch: Batch) -> None:
        """Update statistics and history sums with the batch's labels."""
        import torch

        assert batch.label is not None  # noqa: S101 - outcomes are what is followed
        history = self.parts["history"]
        with torch.no_grad():
            of_user, of_item = history.residuals(batch.user, batch.item, batch.label)
            history.users.add(batch.user, batch.item, of_user, *self._tables("user"))
            history.items.add(batch.item, batch.user, of_item, *self._tables("item"))

    def unread(self, known: Interactions, users: int, items: int, ranks: bool) -> str | None:
        """Say how many histories are summed over their newest entries alone."""
        longest, config = self._longest(known), self.config
        if longest is None or not config.factors:
            return None
        long = {
            "users": 0 if config.user_history == "none" else int((known.counts_by_user(users) > longest).sum()),
            "items": 0
            if config.item_history == "none" or ranks
            else int((known.counts_by_item(items) > longest).sum()),
        }
        if not any(long.values()):
            return None
        who = " and ".join(f"{count} {side}" for side, count in long.items() if count)
        return (
            f"of the histories of {who} the newest {longest} interactions are summed; counts and means are over all"
            " (signals.collaborative.longest_history)"
        )

    def _longest(self, trained_on: Interactions) -> int | None:
        """Return how many entries of a history are summed, for a model trained on these; None for all.

        While epochs are chosen, the model is trained on fewer interactions than the final one: both sum as many.
        """
        asked = self.config.longest_history
        if asked == "auto":
            size = len(trained_on) if self._learned_by_run is None else self._learned_by_run
            return LONG_HISTORY if size > MANY_INTERACTIONS else None
        return None if asked == "all" else asked

    def _tables(self, side: str) -> list[Tensor | None]:
        """Return the tables that a side's implicit and explicit sums run over."""
        names = (f"{side}_implicit", f"{side}_explicit")
        return [self.parts[name].weight.detach() if name in self.parts else None for name in names]

    def _kinds(self, side: str) -> tuple[str, ...]:
        """Return a side's kinds of histories: none of ranked items, which would reveal the answer; no equal labels."""
        chosen: _Side = self.config.user_history if side == "user" else self.config.item_history
        kinds = {"none": (), "implicit": ("implicit",), "explicit": ("explicit",), "both": ("implicit", "explicit")}
        if self._ranks:
            return () if side == "item" or "implicit" not in kinds[chosen] else ("implicit",)
        return kinds[chosen]

    def _vectors(self, side: str, own: Tensor, batch: Batch) -> Tensor:
        """Return the table row (zero without training interactions) plus history sums of one side, [B, dim]."""
        tables, history = self.parts, getattr(self.parts["history"], f"{side}s")
        vectors: Tensor = tables[side](own) * history.trained[own].unsqueeze(-1)
        kinds = self._kinds(side)
        if not kinds:
            return vectors
        chosen, left_out = history.choose(own), history.among(own, self._left_out(side, batch))
        for kind in kinds:
            sums = history.implicit if kind == "implicit" else history.explicit
            vectors = vectors + sums(tables[f"{side}_{kind}"], own, left_out, chosen)
        return vectors

    def _bias(self, side: str, own: Tensor, batch: Batch) -> Tensor:
        """Return the bias (zero without training interactions) and weighted statistics of one side, [B]."""
        history = getattr(self.parts["history"], f"{side}s")
        statistics = history.statistics(own, self._left_out(side, batch))
        bias: Tensor = self.parts[f"{side}_bias"](own).squeeze(-1) * history.trained[own]
        counted: Tensor = self.parts[f"{side}_statistics"](statistics).squeeze(-1)
        return bias + counted

    def _left_out(self, side: str, batch: Batch) -> LeftOut | None:
        """Return what is left out of histories: the examples themselves in training, else what the batch leaves out."""
        from llmrec_peft.signals.parts.rating_history import LeftOut

        history = self.parts["history"]
        if self.parts.training and batch.label is not None:
            of_user, of_item = history.residuals(batch.user, batch.item, batch.label)
            if side == "user":
                return LeftOut.one(batch.item, of_user)
            return LeftOut.one(batch.user, of_item)
        if batch.left_out is None or batch.left_out_label is None:
            return None
        users = batch.user[:, None].expand_as(batch.left_out)
        of_user, of_item = history.residuals(users, batch.left_out, batch.left_out_label)
        if side == "user":
            return LeftOut(batch.left_out, of_user, (batch.left_out > 0).float())
        own = (batch.left_out == batch.item[:, None]) & (batch.left_out > 0)  # the user's own rating of this item
        return LeftOut(users, of_item, own.float())

    def _hide(self, batch: Batch) -> None:
        """Draw which of the batch's items are hidden: one draw per item, so that all its examples agree."""
        import torch

        self._hidden = None
        if self.parts.training and self.config.item_dropout > 0.0:
            rows = len(self.parts["item_bias"].weight)
            place = batch.item
            if rows > MANY_ROWS:  # of a large catalogue, only the batch's own items are drawn for
                items, place = torch.unique(batch.item, return_inverse=True)
                rows = len(items)
            shown = torch.rand(rows, device=place.device) >= self.config.item_dropout
            self._hidden = shown[place].float()

    def _folded(self, name: str, index: Tensor) -> Tensor:
        """Return rows of a folded table."""
        rows: Tensor = self.parts["folded"][name][index]
        return rows

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
