"""Module tree: modules of their own over tensors that others share."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def tree_of(model: nn.Module) -> nn.Module:
    """Return a copy of a module tree whose parameters and buffers are those of the original."""
    kept: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, kept)
