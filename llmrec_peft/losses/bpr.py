"""Bayesian personalised ranking."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def bpr(positive: Tensor, negative: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the mean of -log σ(s⁺ - s⁻) over all pairs of a positive with one of its negatives.

    A smooth bound of the share of pairs in the wrong order, 1 - AUC. Each negative has a gradient of its own; in
    `softmax` the hardest negatives dominate.

    Args:
        positive: s⁺, float [B].
        negative: s⁻, float [B, K], K negatives of each positive.
        mask: Which negatives count, bool [B, K]; by default all. Pairs have equal weights, so that a positive
            with more negatives weighs more, and one without any not at all.

    Returns:
        Scalar; 0 if no pair counts.

    References:
        Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009, section 4.
    """
    wrong = negative - positive[:, None]
    if mask is None:
        return softplus(wrong).mean()
    return softplus(wrong.masked_fill(~mask, -torch.inf)).sum() / mask.sum().clamp(min=1)
