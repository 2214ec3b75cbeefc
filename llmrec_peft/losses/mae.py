"""Mean absolute error."""

from __future__ import annotations

from torch import Tensor


def mae(predicted: Tensor, observed: Tensor) -> Tensor:
    """mean |ŷ - y|, whose minimum is the conditional median: outliers pull less than under `mse`.

    Args:
        predicted: float [B].
        observed: float [B].

    Returns:
        Scalar.
    """
    return (predicted - observed).abs().mean()
