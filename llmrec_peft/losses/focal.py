"""Focal loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus


def focal(logits: Tensor, observed: Tensor, positive_weight: float = 1.0, gamma: float = 2.0) -> Tensor:
    """Compute the mean of -w y (1 - p)^γ log p - (1 - y) p^γ log(1 - p) with p = σ(x): `bce` for γ = 0.

    The factor weights down examples that are already right: at p = 0.9, γ = 2 leaves a positive one hundredth of
    its weight. A label between 0 and 1 counts as that share of a positive and the rest of a negative. The minimum for
    γ > 0 is not the true probability but one nearer to ½, so scores have to be calibrated.

    Args:
        logits: x, float [B].
        observed: y, float [B] in [0, 1].
        positive_weight: w > 0, weight of a positive relative to a negative: α / (1 - α) in the paper.
        gamma: γ ≥ 0.

    Returns:
        Scalar.

    References:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, section 3. Charoenphakdee et al., On Focal
        Loss for Class-Posterior Probability Estimation, CVPR 2021 (why it needs calibration).
    """
    missed, false = softplus(-logits), softplus(logits)  # -log p and -log(1 - p)
    # (1 - p)^γ by its logarithm: the power itself has no gradient if 1 - p rounds to 0 and γ < 1
    positive = (-gamma * false).exp() * missed
    negative = (-gamma * missed).exp() * false
    return (positive_weight * observed * positive + (1 - observed) * negative).mean()
