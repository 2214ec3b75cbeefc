"""Repeats: which candidates stand in a history, and how often items and users are repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_peft.signals.contract import SignalContext

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from llmrec_peft.data.interactions import Interactions

SHRINK = 5.0
"""Weight of the mean rate in an item's or a user's shrunk rate, as a number of chances to repeat."""


def put(items: Tensor, candidates: Tensor, worth: Tensor) -> Tensor:
    """Sum for each candidate the worth of the history entries that are this item.

    Args:
        items: Histories, 0 for missing entries, int64 [B, L].
        candidates: Item indices, int64 [B, C], or [1, C] where all examples share them.
        worth: Worth of each entry, float32 [B, L].

    Returns:
        Sums, float32 [B, C].
    """
    import torch

    worth = worth * (items > 0)
    if candidates.shape[0] == 1 and len(items) > 1:  # shared and often many: scatter each entry to its item's column
        highest = max(int(candidates.max()), int(items.max()) if items.numel() else 0)
        return worth.new_zeros(len(items), highest + 1).scatter_add(1, items, worth)[:, candidates[0]]
    same = items.unsqueeze(1) == candidates.unsqueeze(-1)
    return torch.where(same, worth.unsqueeze(1), worth.new_zeros(1)).sum(-1)


def occurrences(items: Tensor) -> tuple[Tensor, Tensor]:
    """Return how often each entry's item occurs in its history, and whether the entry is its first, [B, L] each."""
    import torch

    length = items.shape[1]
    same = items.unsqueeze(2) == items.unsqueeze(1)
    earlier = torch.ones(length, length, device=items.device).tril(-1).bool()
    return same.sum(2), ~(same & earlier).any(2)


def user_repeats(items: Tensor, first: Tensor, mean: Tensor) -> Tensor:
    """Return the log of a user's rate of repeats over the mean rate, float32 [B, 1].

    Args:
        items: Histories, 0 for missing entries, int64 [B, L].
        first: Whether each entry is the first of its item, bool [B, L].
        mean: Mean rate of repeats, [1].
    """
    again = ((items > 0) & ~first).sum(1, keepdim=True)
    chances = ((items > 0).sum(1, keepdim=True) - 1).clamp(min=0)
    return ((again + SHRINK * mean) / (chances + SHRINK) / mean).log()


def repeat_rates(context: SignalContext) -> nn.ParameterDict:
    """Return what `item_repeats` returns, as frozen tensors; empty ones if a trained signal is built to be loaded."""
    import numpy as np
    import torch
    from torch import nn

    tensors = {"item": np.zeros(context.num_items, np.float32), "mean": np.ones(1, np.float32)}
    if context.train is not None:
        tensors = item_repeats(context.train, context.num_items)
    frozen = {name: nn.Parameter(torch.from_numpy(value), requires_grad=False) for name, value in tensors.items()}
    return nn.ParameterDict(frozen)


def item_repeats(train: Interactions, num_items: int) -> dict[str, NDArray[np.float32]]:
    """Compute how often each item is repeated.

    Args:
        train: Interactions to count.
        num_items: Rows of an item table.

    Returns:
        ``item``, the log of each item's rate over the mean, float32 [num_items], and ``mean``, that mean, [1].
    """
    import numpy as np

    from llmrec_peft.data.order import in_time

    order = in_time(train.user, train.timestamp)
    user, item = train.user[order], train.item[order]
    _, first = np.unique(user * np.int64(num_items) + item, return_index=True)
    again = np.ones(len(item), bool)
    again[first] = False
    last = np.append(user[1:] != user[:-1], True)
    taken = np.bincount(item[again], minlength=num_items).astype(np.float64)
    chances = np.bincount(item[~last], minlength=num_items)
    mean = max(float(taken.sum() / max(1, chances.sum())), 1e-4)
    rates = np.log((taken + SHRINK * mean) / (chances + SHRINK) / mean)
    return {"item": rates.astype(np.float32), "mean": np.array([mean], np.float32)}
