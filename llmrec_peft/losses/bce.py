"""Binary cross-entropy."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus


def bce(logits: Tensor, observed: Tensor, positive_weight: float = 1.0) -> Tensor:
    """Compute the mean of -w y log σ(x) - (1 - y) log(1 - σ(x)), from logits, so that no σ rounds to 0 or 1.

    Its minimum is σ(x) = P(y = 1 | x) at w = 1. Another w shifts every logit by log w: the order stays, and the
    probabilities have to be calibrated. `focal` is the same with less weight on easy examples.

    Args:
        logits: x, float [B].
        observed: y, float [B] in [0, 1]; values in between are a share of positives.
        positive_weight: w > 0, weight of a positive relative to a negative; the mean is always over B.

    Returns:
        Scalar.

    References:
        Good, Rational Decisions, JRSS B 14(1), 1952. King and Zeng, Logistic Regression in Rare Events Data,
        Political Analysis 9(2), 2001 (the shift by log w).
    """
    return (positive_weight * observed * softplus(-logits) + (1 - observed) * softplus(logits)).mean()
