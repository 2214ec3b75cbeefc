"""Huber's loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import huber_loss


def huber(predicted: Tensor, observed: Tensor) -> Tensor:
    """Compute the mean of ½ r² for |r| ≤ 1 and |r| - ½ beyond, r = ŷ - y: `mse` near the target, `mae` far from it.

    Args:
        predicted: float [B].
        observed: float [B].

    Returns:
        Scalar.

    References:
        Huber, Robust Estimation of a Location Parameter, Annals of Mathematical Statistics 35(1), 1964.
    """
    return huber_loss(predicted, observed, delta=1.0)
