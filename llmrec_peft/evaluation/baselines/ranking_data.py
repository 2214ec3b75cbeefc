"""What baselines of ranking learn from, and which examples choose their settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.outcomes import sampled_rows

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE = 3000
"""Validation examples on which settings are chosen, at most."""
SAMPLED_SCORES = 1_000_000_000
"""Scores of these examples, about, at most: in large catalogues there are fewer of them, but a third."""


@dataclass(frozen=True)
class RankingData:
    """Data of the baselines.

    Attributes:
        train: Training part.
        valid: Validation part, with histories.
        fit: Data of the final baselines: train + valid, or train if the model is not refit.
        test: Test part, with histories.
        num_items: Rows of an item table.
        texts: Untuned vectors of all items' texts, float32 [num_items, width]; None if no text is read.
        own_items: Whether items of an example's history are ranked too.
        metric: Primary metric, by which settings are chosen.
        preferences: What people met, by item index, where items are people (`people.preferences_of`).
        titles: Titles of the items from index 1, None for none; None where the data has none.
    """

    train: Interactions
    valid: Interactions
    fit: Interactions
    test: Interactions
    num_items: int
    texts: Tensor | None
    own_items: bool
    metric: str
    preferences: Any | None = None
    titles: Sequence[str | None] | None = None


def validation_sample(data: RankingData) -> NDArray[np.int64]:
    """Return the validation examples on which settings are chosen."""
    return sampled_rows(len(data.valid), max(SAMPLE // 3, min(SAMPLE, SAMPLED_SCORES // data.num_items)))


def same(scores: Tensor, rows: NDArray[np.int64]) -> Tensor:
    """Return scores that were computed already."""
    return scores
