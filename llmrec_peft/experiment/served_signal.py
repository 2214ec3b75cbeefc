"""Served signal: a baseline of rankings as tables beside a trained model, counted on what the model learned from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft.data.batches import Batch
from llmrec_peft.evaluation.baselines.followers import title_words, transitions
from llmrec_peft.evaluation.baselines.ranking import neighbour_counts
from llmrec_peft.heads.contract import Joined
from llmrec_peft.model.served_baseline import Served, ServedBaseline
from llmrec_peft.model.served_followers import FOLLOWERS, WITH_WORDS, FollowerOptions, ServedFollowers
from llmrec_peft.model.served_neighbours import NEIGHBOURS, WITH_TEXTS, NeighbourOptions, ServedNeighbours
from llmrec_peft.signals.parts.matrix_factorization import Factors

if TYPE_CHECKING:
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.heads.contract import TaskHead

POPULARITY = "popularity"
"""Name of the baseline that adds the number of an item's interactions."""


def served_signal(
    prepared: Prepared, baseline: str, settings: Mapping[str, float], weight: float, learned: Interactions
) -> Served:
    """Return a baseline of rankings as a signal that adds weight · (its score).

    Args:
        prepared: Data, whose users and items the tables are of.
        baseline: Name of the baseline, one of `llmrec_peft.experiment.ranking_blend.SERVABLE`.
        settings: Its settings.
        weight: Factor on its score, before the head scales what signals add.
        learned: Interactions that are counted.
    """
    users, items = prepared.vocabulary.num_users, prepared.vocabulary.num_items
    if baseline in (NEIGHBOURS, WITH_TEXTS):
        counted = NeighbourOptions.model_validate(dict(settings))
        return ServedNeighbours.of(neighbour_counts(learned, items), counted, weight)
    if baseline in (FOLLOWERS, WITH_WORDS):
        options = FollowerOptions.model_validate(dict(settings))
        alike = title_words(prepared.titles) if options.words > 0.0 else None
        return ServedFollowers.of(transitions(learned, items), alike, options, weight)
    counts = learned.counts_by_item(items).astype(np.float64)
    counts[0] = 0.0
    alone = Factors(0.0, np.zeros((users, 0)), np.zeros((items, 0)), np.zeros(users), counts)
    return ServedBaseline.of(alone, weight, 0.0)


def weight_of(signal: Served, popularity: NDArray[np.int64]) -> float:
    """Return the weight that a signal was made with by `served_signal`.

    Args:
        signal: The signal.
        popularity: Interactions of each item that it counted, from index 1, int64 [num_items - 1].
    """
    tables = signal.parts.state_dict()
    for name, table in tables.items():
        if name.endswith(".weight"):
            return float(table)
    return float(tables["tables.item_offset"].double().sum()) / max(1.0, float(popularity.sum()))


def slope(head: TaskHead[Any], device: torch.device) -> float:
    """Return what one added to an offset adds to a head's score."""
    with torch.no_grad():
        nobody = torch.zeros(1, dtype=torch.int64, device=device)
        nothing, one = (Joined(None, torch.full((1,), value, device=device)) for value in (0.0, 1.0))
        batch = Batch(user=nobody, item=nobody)
        return float(head.raw(batch, nothing, one) - head.raw(batch, nothing, nothing))
