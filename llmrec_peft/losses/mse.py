"""Mean squared error."""

from __future__ import annotations

from torch import Tensor


def mse(predicted: Tensor, observed: Tensor) -> Tensor:
    """Compute the mean of (ŷ - y)², whose minimum is the conditional mean.

    Args:
        predicted: float [B].
        observed: float [B].

    Returns:
        Scalar.
    """
    return (predicted - observed).pow(2).mean()
