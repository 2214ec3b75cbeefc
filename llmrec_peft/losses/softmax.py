"""Softmax cross-entropy over candidates, sampled or all."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax


def softmax(
    scores: Tensor,
    target: Tensor,
    log_q: Tensor | None = None,
    label_smoothing: float = 0.0,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Compute the mean of -log softmax(s - log q) at the target's column.

    In a sample of candidates, popular items are negatives more often than others and would get too low scores.
    Subtracting log q from every score, the target's included, corrects this: with K draws from q beside the target, the
    expected loss has its minimum at the scores of the full softmax for any K, and its gradient approaches the full
    one's
    as K grows. Repeated draws stay as columns of their own, copies of the target too: if only those were masked,
    frequent
    targets would end too high. If candidates are made distinct, q is the probability of being among them, 1 - (1 -
    q)^K,
    and the minimum is nearly right: on six items and K = 4 the gradient there is 0.002, with q itself 0.017, without
    correction 0.11.

    Args:
        scores: s, float [B, C], higher is better; computed in float32 at least.
        target: Column of each row's target, int64 [B].
        log_q: Logarithm of each candidate's probability of being sampled, or of anything proportional to it,
            finite, float [C]; None if the candidates are all items or drawn uniformly.
        label_smoothing: ε in [0, 1): share of the target's probability that is spread evenly over the
            candidates that count.
        mask: Which candidates count for a row, bool [B, C]; by default all. The target always counts.
        weight: Weight of each row, positive, float [B]; by default all weigh alike.

    Returns:
        Scalar.

    References:
        Bengio and Senécal, Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic
        Language Model, IEEE TNN 19(4), 2008. Jean et al., On Using Very Large Target Vocabulary for Neural
        Machine Translation, ACL 2015, section 3. Ma and Collins, Noise Contrastive Estimation and Negative
        Sampling for Conditional Models, EMNLP 2018 (the minimum for any K). Yi et al., Sampling-Bias-Corrected
        Neural Modeling for Large Corpus Item Recommendations, RecSys 2019 (candidates of the batch).
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if log_q is not None:
        scores = scores - log_q
    place = target[:, None]
    if mask is not None:
        mask = mask.scatter(1, place, True)
        scores = scores.masked_fill(~mask, -torch.inf)
    logs = log_softmax(scores, dim=-1)
    values = -logs.gather(1, place)[:, 0]
    if label_smoothing:
        even = -logs.mean(-1) if mask is None else -logs.masked_fill(~mask, 0.0).sum(-1) / mask.sum(-1)
        values = (1 - label_smoothing) * values + label_smoothing * even
    return values.mean() if weight is None else (weight * values).sum() / weight.sum()
