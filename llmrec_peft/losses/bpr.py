"""Bayesian personalised ranking."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def bpr(positive: Tensor, negative: Tensor, mask: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    """Compute the mean of -log σ(s⁺ - s⁻) over all pairs of a positive with one of its negatives.

    A smooth bound of the share of pairs in the wrong order, 1 - AUC. Each negative has a gradient of its own; in
    `softmax` the hardest negatives dominate.

    Args:
        positive: s⁺, float [B].
        negative: s⁻, float [B, K], K negatives of each positive.
        mask: Which negatives count, bool [B, K]; by default all. Pairs have equal weights, so that a positive
            with more negatives weighs more, and one without any not at all.
        weight: Weight of each positive's pairs, float [B]; by default all weigh alike.

    Returns:
        Scalar; 0 if no pair counts.

    References:
        Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009, section 4.
    """
    wrong = negative - positive[:, None]
    if mask is None and weight is None:
        return softplus(wrong).mean()
    counts = torch.ones_like(wrong, dtype=torch.bool) if mask is None else mask
    values = softplus(wrong.masked_fill(~counts, -torch.inf))
    if weight is None:
        return values.sum() / counts.sum().clamp(min=1)
    pairs = (weight * counts.sum(1)).sum()
    return (weight * values.sum(1)).sum() / torch.where(pairs > 0, pairs, 1.0)
