"""Alike: the items whose texts are most like each item's, for hard negatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

COUNT = 50
"""Items that are found for each one."""
GROUP = 32_768
"""Items that are compared with each other: a million against each other would take hours and not minutes."""
ROWS, SIMILAR = 1024, 128 << 20
"""Items, and bytes of their similarities, that are computed at a time."""


@torch.no_grad()
def most_alike(vectors: Tensor, count: int = COUNT) -> NDArray[np.int64]:
    """Find the items with the largest cosines to each item, most alike first, int64 [num_items, count].

    A catalogue of more than `GROUP` items is divided at random into groups of at most so many, and each item is
    compared with those of its own group: every item is found by others as often as in the whole, and time grows with
    the number of items, not with its square.

    Args:
        vectors: Vectors of all item indices, [num_items, width]; row 0 is no item.
        count: Items that are found for each.

    Returns:
        Row 0, and places beyond the catalogue, hold 0.
    """
    items = len(vectors) - 1
    count = min(count, max(1, items - 1))
    found: NDArray[np.int64] = np.zeros((len(vectors), count), np.int64)
    for group in _groups(items):
        _fill(found, group, vectors)
    return found


def _groups(items: int) -> list[NDArray[np.int64]]:
    """Return the item indices of each group, sorted; one group of all, where they are few."""
    parts = max(1, -(-items // GROUP))
    order = np.arange(items) if parts == 1 else np.random.default_rng(0).permutation(items)
    return [np.sort(group) + 1 for group in np.array_split(order, parts)]


def _fill(found: NDArray[Any], group: NDArray[np.int64], vectors: Tensor) -> None:
    """Find the most similar items of one group for each of its items."""
    names = np.concatenate([[0], group])
    chosen = vectors if len(names) == len(vectors) else vectors[torch.from_numpy(names).to(vectors.device)]
    unit = torch.nn.functional.normalize(chosen.float(), dim=-1)
    step = max(1, min(ROWS, SIMILAR // (4 * len(names))))
    for at in range(1, len(names), step):
        rows = torch.arange(at, min(at + step, len(names)), device=unit.device)
        similar = unit[rows] @ unit.T
        similar[:, 0] = -torch.inf
        similar[torch.arange(len(rows), device=rows.device), rows] = -torch.inf
        best = similar.topk(found.shape[1], dim=1)
        found[group[at - 1 : at - 1 + step]] = names[best.indices.cpu().numpy()]
