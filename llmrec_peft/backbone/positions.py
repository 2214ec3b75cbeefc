"""Positions: where a model begins to count the tokens of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def first_position(model: nn.Module) -> int:
    """Return the position of a text's first token: RoBERTa and its kin count from behind the padding's position."""
    from torch import nn

    for name, module in model.named_modules():
        reserved = getattr(module, "padding_idx", None)
        if isinstance(module, nn.Embedding) and reserved is not None and "position" in name.rpartition(".")[2]:
            return int(reserved) + 1
    return 0


def token_room(model: nn.Module) -> int | None:
    """Return how many tokens the model's positions hold; None where its configuration names no such number."""
    table = getattr(model.config, "max_position_embeddings", None)
    return None if table is None else int(table) - first_position(model)
