"""Bounded softmax: cross-entropy over candidates with a bounded loss for examples out of reach."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax


def bounded_softmax(
    scores: Tensor, target: Tensor, q: float = 0.3, log_q: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """Compute the mean of (1 - p^q) / q with p = softmax(s - log q)[target]: `softmax` for q → 0, 1 - p for q = 1.

    Most next items are out of reach of any model, and -log p grows without bound for them: with plain softmax they
    dominate the weights, and popularity, the only thing that helps them, is overweighted where a good answer is within
    reach. Here an example's loss is at most 1 / q and its gradient shrinks by p^q, so that the top of the lists
    decides,
    which is what NDCG and hit rate measure.

    Args:
        scores: s, float [B, C], higher is better; computed in float32 at least.
        target: Column of each row's target, int64 [B].
        q: In (0, 1].
        log_q: Logarithm of each candidate's probability of being sampled, see `softmax`; p is then the probability
            among the
            candidates drawn, larger than among all.
        weight: Weight of each row, positive, float [B]; by default all weigh alike.

    Returns:
        Scalar.

    References:
        Zhang and Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels,
        NeurIPS 2018, equation 6.
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if log_q is not None:
        scores = scores - log_q
    logs = log_softmax(scores, dim=-1).gather(1, target[:, None])[:, 0]
    values = -torch.expm1(q * logs) / q
    return values.mean() if weight is None else (weight * values).sum() / weight.sum()
