"""InfoNCE: softmax of similarities at a temperature."""

from __future__ import annotations

import torch
from torch import Tensor

from llmrec_peft.losses.softmax import softmax


def info_nce(
    similarity: Tensor,
    target: Tensor,
    temperature: float | Tensor,
    log_q: Tensor | None = None,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Compute the mean of -log softmax(similarity / τ - log q) at the target's column.

    `softmax` for similarities of bounded range, such as cosines: a low τ lets them differ enough and makes the
    nearest negatives dominate. log C less this loss is a lower bound of the mutual information of the two sides if the
    candidates are drawn from the items' distribution and log q is left out.

    Args:
        similarity: float [B, C], higher is better.
        target: Column of each row's target, int64 [B].
        temperature: τ > 0; a tensor, scalar or [B, 1], if it is learnt.
        log_q: As in `softmax`, float [C]; τ does not divide it.
        mask: Which candidates count for a row, bool [B, C]; by default all. The target always counts.
        weight: Weight of each row, positive, float [B]; by default all weigh alike.

    Returns:
        Scalar.

    References:
        van den Oord, Li and Vinyals, Representation Learning with Contrastive Predictive Coding, 2018,
        section 2.3. Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations,
        RecSys 2019, section 3 (temperature and correction).
    """
    single = similarity.to(torch.promote_types(similarity.dtype, torch.float32))
    return softmax(single / temperature, target, log_q, mask=mask, weight=weight)
