"""Losses, one per file; heads choose from them by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

RATING_LOSSES = ("mse", "mae", "huber")
"""Losses of a predicted against an observed rating."""
CLICK_LOSSES = ("bce", "focal")
"""Losses of a logit against a binary outcome."""
RANKING_LOSSES = ("bpr", "softmax", "bounded_softmax", "info_nce")
"""Losses of the target's score against other items' scores."""


def loss(name: str) -> Callable[..., Tensor]:
    """Return the loss function of a name; its file says what it takes. Torch is imported here and no earlier.

    Args:
        name: One of the names above.
    """
    function: Callable[..., Tensor] = getattr(import_module(f"llmrec_peft.losses.{name}"), name)
    return function
