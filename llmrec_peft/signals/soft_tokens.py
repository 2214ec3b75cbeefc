"""Soft tokens: collaborative vectors as tokens of the language model, inserted into its prompt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from llmrec_peft.errors import InputError
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Self

    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch
    from llmrec_peft.data.interactions import Interactions

_SIDES = {"user": ("user",), "item": ("item",), "both": ("user", "item")}


class SoftTokensOptions(Options):
    """Options of the soft tokens signal."""

    tokens: Literal["user", "item", "both"] = "both"
    """Whose vectors are inserted into the prompt, one token each."""
    dim_collaborative: int = Field(default=32, ge=1, le=1024)
    """Width of the user and item vectors that are projected."""
    start: Literal["none", "mf"] = "none"
    """Initial user and item vectors: random (`none`), or a matrix factorization of the training interactions (`mf`)."""
    start_ridge: float = Field(default=4.0, gt=0.0)
    """Ridge penalty of that factorization (`mf`); rankings do not use it."""
    frozen: bool = False
    """Whether the factorization's vectors stay fixed, so that only the projection is trained (`mf`)."""
    projection: int = Field(default=128, ge=1, le=8192)
    """Width of the projection's hidden layer."""
    scale: float = Field(default=1.0, gt=0.0, le=100.0)
    """Initial length of the tokens, relative to the mean length of the language model's own; it is learnt."""
    unknown: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Probability that a user or an item is treated as unknown in a training step, to train their shared token."""
    init_std: float = Field(default=0.1, gt=0.0)
    """Standard deviation of the vectors' initial values."""

    @model_validator(mode="after")
    def _something_to_freeze(self) -> Self:
        if self.frozen and self.start == "none":
            raise ValueError("frozen keeps a factorization's vectors, and there is none: choose start mf")
        return self


class SoftTokens(Signal[SoftTokensOptions]):
    """token = s n y / ‖y‖, y = W₂ GELU(W₁ U_u + b₁) + b₂, and the same of I_i for the item.

    n is the mean length of the language model's token embeddings and s a learnt scale, so that inserted tokens
    are about as long as those the model knows. Users and items without training interactions share row 0.

    References:
        Zhang et al., CoLLM: Integrating Collaborative Embeddings into Large Language Models for
        Recommendation, TKDE 2025.
    """

    summary: ClassVar[str] = "user and item vectors projected to tokens inside the language model's prompt"
    Config: ClassVar[type[Options]] = SoftTokensOptions
    user_tables: ClassVar[tuple[str, ...]] = ("user.weight", "rows.user")
    inserts_tokens: ClassVar[bool] = True

    def refusal(self, users: Collection[str], items: Collection[str], reads_prompt: bool) -> str | None:
        """Refuse a run without prompts, since there is nothing to insert tokens into."""
        if reads_prompt:
            return None
        return (
            "signals.soft_tokens: no head of the recipe reads prompts, so there is nothing to put tokens into;"
            " set head.feed=prompt with a head that has it (click), or signals.soft_tokens=false"
        )

    def token_count(self) -> int:
        """Return one vector per side."""
        return len(self._sides)

    @property
    def _sides(self) -> tuple[str, ...]:
        return _SIDES[self.config.tokens]

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make U, I, a projection and scale for each, and the frozen row numbers of users and items in training.

        Raises:
            InputError: Where there is no language model.
        """
        import torch
        from torch import nn

        from llmrec_peft.signals.parts.row_table import RowTable

        config, dim = self.config, self.config.dim_collaborative
        hidden = self._hidden(context)
        length = math.log(config.scale * (context.token_norm or 1.0))
        parts: dict[str, Any] = {}
        rows: dict[str, Any] = {}
        scale: dict[str, Any] = {}
        for side in self._sides:
            count = context.num_users if side == "user" else context.num_items
            parts[side] = RowTable(count, dim)
            nn.init.normal_(parts[side].weight, std=config.init_std)
            parts[side].weight.requires_grad_(not config.frozen)
            first, second = nn.Linear(dim, config.projection), nn.Linear(config.projection, hidden)
            nn.init.zeros_(first.bias)
            nn.init.zeros_(second.bias)
            parts[f"{side}_projection"] = nn.Sequential(first, nn.GELU(), second)
            rows[side] = nn.Parameter(self._known(side, count, context.train), requires_grad=False)
            scale[side] = nn.Parameter(torch.tensor([length]))
        scale["norm"] = nn.Parameter(torch.tensor([context.token_norm or 1.0]), requires_grad=False)
        parts["rows"] = nn.ParameterDict(rows)
        parts["scale"] = nn.ParameterDict(scale)
        if config.start == "mf" and context.train is not None:
            self._start(parts, context.train, context)
        return nn.ModuleDict(parts)

    def _hidden(self, context: SignalContext) -> int:
        """Return the width of the language model's token embeddings."""
        if context.saved is not None:
            return int(context.saved[f"{self._sides[0]}_projection.2.weight"].shape[0])
        if context.hidden is None:
            raise InputError("signals.soft_tokens: the recipe uses no language model to put tokens into")
        return context.hidden

    @staticmethod
    def _known(side: str, count: int, train: Interactions | None) -> Tensor:
        """Return the table row of each index: its own if it occurs in training, else 0."""
        import torch

        own = torch.arange(count)
        if train is None:
            return own
        count_of = train.counts_by_user(count) if side == "user" else train.counts_by_item(count)
        return own * torch.from_numpy(count_of > 0)

    def _start(self, parts: dict[str, Any], train: Interactions, context: SignalContext) -> None:
        """Fill U and I from a matrix factorization, scaled to the standard deviation `init_std`."""
        import torch

        from llmrec_peft.signals.parts.matrix_factorization import factorized

        sizes = (context.num_users, context.num_items)
        rank, ridge = self.config.dim_collaborative, self.config.start_ridge
        factorization = factorized(train, *sizes, rank, ridge, context.task, context.seed)
        with torch.no_grad():
            for side in self._sides:
                known = parts["rows"][side] > 0
                factors = torch.from_numpy(factorization.user if side == "user" else factorization.item).float()
                spread = factors[known].square().mean().sqrt().clamp(min=1e-9)
                parts[side].weight[known] = factors[known] / spread * self.config.init_std

    def tokens(self, batch: Batch) -> Tensor:
        """Return vectors for each example's prompt, user first, float32 [B, k, hidden]."""
        import torch

        return torch.stack([self._token(side, getattr(batch, side)) for side in self._sides], dim=1)

    def _token(self, side: str, index: Tensor) -> Tensor:
        import torch

        parts = self.parts
        row = parts["rows"][side][index]
        if parts.training and self.config.unknown > 0.0:
            row = torch.where(torch.rand(row.shape, device=row.device) < self.config.unknown, 0, row)
        # divided by their spread: the projection starts on vectors of a usual size, and small steps still change them
        projected = parts[f"{side}_projection"](parts[side](row) / self.config.init_std)
        length = projected.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        token: Tensor = parts["scale"][side].exp() * projected / length
        return token

    def report(self) -> dict[str, Any]:
        """Return the length of each side's tokens, relative to the language model's own."""
        scale = self.parts["scale"]
        lengths = {side: float(scale[side].detach().exp() / scale["norm"]) for side in self._sides}
        return {"length": {side: round(length, 4) for side, length in lengths.items()}}
