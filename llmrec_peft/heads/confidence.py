"""Confidence: how much an interaction weighs in the loss of a ranking, by how often or how long it happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.data.batches import Batch


class ConfidenceOptions(Options):
    """Options of heads that can weigh examples by their confidence."""

    confidence_alpha: float = Field(default=0.0, ge=0.0, le=1000.0)
    """α: an example with confidence c (hours, plays: the interactions' column `confidence`) weighs
    1 + α ln(1 + c / ε); 0 for equal weights."""
    confidence_eps: float = Field(default=1.0, gt=0.0)
    """ε of that weight, in the unit of c: from about there on the weight grows with the logarithm alone."""


def weights(batch: Batch, options: ConfidenceOptions) -> Tensor | None:
    """Return w = 1 + α ln(1 + c / ε) of each example, float32 [B]; None where all weigh alike.

    References:
        Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008, section 4.
    """
    if options.confidence_alpha == 0.0 or batch.confidence is None:
        return None
    return 1.0 + options.confidence_alpha * (batch.confidence / options.confidence_eps).log1p()
