"""Pooling: one vector from the states of a text's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def pool(states: Tensor, mask: Tensor, kind: str) -> Tensor:
    """Pool token states in fp32.

    Args:
        states: [n, length, width].
        mask: 1 for tokens that count, 0 for padding on the right and for tokens before the text that do not count
            (a prompt's), [n, length].
        kind: ``mean`` over tokens, ``cls`` (the first token), ``last-token``, ``max`` (the largest value of each
            dimension), ``mean-sqrt`` (the sum over the square root of the number of tokens) or ``weighted-mean``
            (later tokens weigh more: the place of a token, from 1, is its weight).

    Returns:
        float32 [n, width].

    Raises:
        ValueError: For another kind.
    """
    import torch

    states = states.float()
    if kind in ("cls", "last-token"):
        place = torch.arange(mask.shape[1], device=mask.device)
        inside = mask > 0
        at = inside.int().argmax(1) if kind == "cls" else torch.where(inside, place, 0).amax(1)
        return states[torch.arange(len(states), device=states.device), at]
    weights = mask.to(states.dtype).unsqueeze(-1)
    if kind == "max":
        return states.masked_fill(weights == 0, -torch.inf).amax(1)
    if kind == "weighted-mean":
        weights = weights * torch.arange(1, mask.shape[1] + 1, device=mask.device).unsqueeze(-1)
    elif kind not in ("mean", "mean-sqrt"):
        raise ValueError(f"no pooling is called {kind!r}")
    total = weights.sum(1).clamp(min=1.0)
    return (states * weights).sum(1) / (total.sqrt() if kind == "mean-sqrt" else total)
