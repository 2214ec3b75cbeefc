"""Pooling: one vector from the states of a text's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def pool(states: Tensor, mask: Tensor, kind: str) -> Tensor:
    """Pool token states in fp32.

    Args:
        states: [n, length, width].
        mask: 1 for tokens, 0 for padding on the right, [n, length].
        kind: ``mean`` over tokens, ``cls`` (first token) or ``last-token``.

    Returns:
        float32 [n, width].
    """
    import torch

    states = states.float()
    if kind == "cls":
        return states[:, 0]
    if kind == "last-token":
        last = mask.sum(1) - 1
        return states[torch.arange(len(states), device=states.device), last]
    weights = mask.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1.0)
