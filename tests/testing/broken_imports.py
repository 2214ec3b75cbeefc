"""A head and a signal whose module imports torch: `llmrec list` would wait for it."""

from __future__ import annotations

import torch

from llmrec_peft.heads.rating import RatingHead
from llmrec_peft.signals.text import Text


class EagerHead(RatingHead):
    """Sound but for its module."""

    summary = "eager"
    zero = torch.zeros(())


class EagerSignal(Text):
    """Sound but for its module."""

    summary = "eager"
    zero = torch.zeros(())
