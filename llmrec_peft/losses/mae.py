"""Mean absolute error."""

from __future__ import annotations

from torch import Tensor


def mae(predicted: Tensor, observed: Tensor) -> Tensor:
    """Compute the mean of |ŷ - y|, whose minimum is the conditional median: outliers count less than in `mse`.

    Args:
        predicted: float [B].
        observed: float [B].

    Returns:
        Scalar.
    """
    return (predicted - observed).abs().mean()
