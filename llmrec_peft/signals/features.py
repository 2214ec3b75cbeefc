"""Features: categorical and numeric columns of users and items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from llmrec_peft.errors import InputError
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext
from llmrec_peft.signals.parts.saved import require_indices

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch

SIDES = ("user", "item")


class FeaturesOptions(Options):
    """Options of the features signal."""

    users: tuple[str, ...] = ()
    """Columns of the users table. Strings and lists of strings are categories, each with a trained vector;
    numbers are standardized and mapped linearly."""
    items: tuple[str, ...] = ()
    """Columns of the items table, read in the same way."""
    min_count: int = Field(default=1, ge=1)
    """Training users (or items) that a category needs; a rarer category is treated as missing."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Probability that a category or a number is left out of an example in a training step."""
    init_std: float = Field(default=0.05, ge=0.0)
    """Standard deviation of the initial vectors."""


class Features(Signal[FeaturesOptions]):
    """side = Σ_c mean_v E_cv + W x + M m, offset = the same sum with vectors of width 1, over both sides.

    c runs over the side's categorical columns, v over a row's values in one column; x are the standardized numbers
    and m marks which of them are missing. Categories, means and deviations are those of users and items in training;
    M starts at zero. A run folder keeps each known item's values, so that it scores without the data; of users, whose
    data is private, it keeps the sums alone.
    """

    summary: ClassVar[str] = "categorical and numeric columns of users and items"
    Config: ClassVar[type[Options]] = FeaturesOptions
    user_tables: ClassVar[tuple[str, ...]] = ("folded.vector", "folded.offset")
    tried_with: ClassVar[Mapping[str, Any]] = {"users": ("gender", "age"), "items": ("genres", "brand", "year")}

    def refusal(self, users: Collection[str], items: Collection[str], reads_prompt: bool) -> str | None:
        """Refuse columns that the data lacks, or a choice without any column."""
        from llmrec_peft.signals.parts.columns import require_columns

        if not self.config.users and not self.config.items:
            return (
                "signals.features: name columns in users or items; the data has"
                f" users: {', '.join(sorted(users))}; items: {', '.join(sorted(items))}"
            )
        try:
            require_columns(users, self.config.users, "signals.features.users")
            require_columns(items, self.config.items, "signals.features.items")
        except InputError as error:
            return str(error)
        return None

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make tables of categories, maps of numbers, and the frozen values of each index.

        Raises:
            InputError: For a column that the data lacks or that is neither categorical nor numeric.
        """
        import torch
        from torch import nn

        parts: dict[str, Any] = {"dropout": nn.Dropout(self.config.dropout)}
        self._names = {name: list(listed) for name, listed in (context.names or {}).items()}
        if context.saved is not None and "folded.vector" in context.saved:
            folded = {name: torch.zeros(context.saved[f"folded.{name}"].shape) for name in ("vector", "offset")}
            parts["folded"] = nn.ParameterDict(
                {name: nn.Parameter(table, requires_grad=False) for name, table in folded.items()}
            )
        for side in SIDES:
            values_and_categories = None if side == "user" and "folded" in parts else self._values(side, context)
            if values_and_categories is None:
                continue
            values, categories = values_and_categories
            if values["category"].shape[1]:
                tables = {f"{side}_category": context.dim, f"{side}_category_offset": 1}
                for name, width in tables.items():
                    parts[name] = nn.Embedding(categories, width)
                nn.init.normal_(parts[f"{side}_category"].weight, std=self.config.init_std)
                nn.init.zeros_(parts[f"{side}_category_offset"].weight)
            count = values["number"].shape[1]
            if count:
                parts[f"{side}_number"] = nn.Linear(count, context.dim, bias=False)
                parts[f"{side}_number_offset"] = nn.Linear(count, 1, bias=False)
                with torch.no_grad():
                    nn.init.normal_(parts[f"{side}_number"].weight, std=self.config.init_std)
                    parts[f"{side}_number"].weight[:, count // 2 :] = 0.0  # missing-value marks start at zero
                nn.init.zeros_(parts[f"{side}_number_offset"].weight)
            parts[side] = nn.ParameterDict(
                {name: nn.Parameter(tensor, requires_grad=False) for name, tensor in values.items()}
            )
        return nn.ModuleDict(parts)

    def fold(self) -> None:
        """Replace users' values by their sums, so that a published run reveals nobody's age."""
        import torch

        if "user" not in self.parts:
            return
        with torch.no_grad():
            everyone = torch.arange(len(self.parts["user"]["category"]), device=self.parts["user"]["category"].device)
            sums = {"vector": self._sum("user", everyone, ""), "offset": self._sum("user", everyone, "_offset")}
        for name in [name for name in self.parts if name == "user" or name.startswith("user_")]:
            del self.parts[name]
        self.parts["folded"] = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(table, requires_grad=False) for name, table in sums.items() if table is not None}
        )

    def _values(self, side: str, context: SignalContext) -> tuple[dict[str, Tensor], int] | None:
        """Return one side's frozen values and the number of rows of its table of categories; None without columns."""
        import torch

        chosen = self.config.users if side == "user" else self.config.items
        if not chosen:
            return None
        if context.saved is not None:
            saved = context.saved
            values = {name: torch.zeros(saved[f"{side}.{name}"].shape) for name in ("share", "number")}
            category = saved[f"{side}.category"]
            categories = len(saved[f"{side}_category.weight"]) if category.ndim > 1 and category.shape[1] else 0
            rows = context.num_users if side == "user" else context.num_items
            require_indices(category, rows, max(1, categories), f"features.{side}.category")
            return {"category": torch.zeros_like(category), **values}, categories
        from llmrec_peft.signals.parts.columns import Columns

        if side == "user":
            table, trained = context.users, context.learned.counts_by_user(context.num_users) > 0
        else:
            table, trained = context.items, context.learned.counts_by_item(context.num_items) > 0
        columns = Columns.of(table or {}, chosen, trained, self.config.min_count, f"signals.features.{side}s")
        self._names |= {f"{side}_categories": list(columns.categories), f"{side}_numbers": list(columns.numbers)}
        values = {name: torch.from_numpy(getattr(columns, name)) for name in ("category", "share", "number")}
        return values, len(columns.categories) + 1

    def user(self, batch: Batch) -> Tensor | None:
        """Return vectors of users' columns, [B, dim]; None if none are read."""
        return self._sum("user", batch.user, "")

    def item(self, batch: Batch) -> Tensor | None:
        """Return vectors of items' columns, [B, dim]; None if none are read."""
        return self._sum("item", batch.item, "")

    def user_offset(self, batch: Batch) -> Tensor | None:
        """Return what users' columns add to their scores, [B]; None if none are read."""
        offset = self._sum("user", batch.user, "_offset")
        return None if offset is None else offset.squeeze(-1)

    def item_offset(self, batch: Batch) -> Tensor | None:
        """Return what items' columns add to their scores, [B]; None if none are read."""
        offset = self._sum("item", batch.item, "_offset")
        return None if offset is None else offset.squeeze(-1)

    def _sum(self, side: str, index: Tensor, kind: str) -> Tensor | None:
        """Sum over one side's columns, [B, d]; None if it has none."""
        if side == "user" and "folded" in self.parts:
            folded: Tensor = self.parts["folded"]["offset" if kind else "vector"][index]
            return folded
        if side not in self.parts:
            return None
        values, dropout = self.parts[side], self.parts["dropout"]
        terms = []
        if f"{side}_category{kind}" in self.parts:
            vectors = self.parts[f"{side}_category{kind}"](values["category"][index])
            terms.append((dropout(values["share"][index]).unsqueeze(-1) * vectors).sum(1))
        if f"{side}_number{kind}" in self.parts:
            terms.append(self.parts[f"{side}_number{kind}"](dropout(values["number"][index])))
        if not terms:
            return None
        total: Tensor = terms[0] if len(terms) == 1 else terms[0] + terms[1]
        return total

    def names(self) -> dict[str, list[str]]:
        """Return categories (``column=value``, index 1 first) and numeric columns of both sides."""
        return self._names
