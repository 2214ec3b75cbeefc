"""Losses, one a file; heads choose from them by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

RATING_LOSSES = ("mse", "mae", "huber")
"""Losses of a predicted against an observed rating."""


def loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss function of a name: predicted [B] and observed [B] to a scalar."""
    function: Callable[[Tensor, Tensor], Tensor] = getattr(import_module(f"llmrec_peft.losses.{name}"), name)
    return function
