"""Baseline of sequences: what followed the last items in training, plus rare title words shared with them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.baselines.ranking_data import RankingData, same, validation_sample
from llmrec_peft.evaluation.measures import RankingMeasure
from llmrec_peft.evaluation.outcomes import Ranks, in_chunks, joined, rank_targets
from llmrec_peft.model.served_followers import FOLLOWERS, LENGTH, WITH_WORDS

if TYPE_CHECKING:
    from torch import Tensor

STEPS, BACKWARDS = 5, 0.3
"""Places apart that are counted, and the weight of the opposite order."""
ALIKE = 200
"""Items that are kept of those that share words with an item, the most similar."""
DECAYS = (0.3, 0.5, 0.8)
"""Weights of an entry relative to the next newer one."""
OWN = (0.3, 1.0)
"""Factors on items of the own history."""
WORDS = (0.0, 0.2, 0.4, 0.8, 1.6)
"""Weights of shared words."""


class _Links:
    """What one part's baselines read: which item follows which, and which share words, [num_items, num_items] each."""

    def __init__(self, learn: Interactions, num_items: int, alike: sparse.csr_matrix | None) -> None:
        self._num_items, self._alike = num_items, alike
        self._follows = transitions(learn, num_items)

    def parts(self, ask: Interactions, decay: float) -> tuple[sparse.csr_matrix, sparse.csr_matrix | None]:
        """Return what follows the entries of histories, and what shares words with them, [n, num_items] each."""
        entries = decayed(ask, self._num_items, decay)
        return entries @ self._follows, None if self._alike is None else entries @ self._alike

    def scores(self, ask: Interactions, settings: dict[str, float]) -> Tensor:
        """Return scores of the whole catalogue, [n, num_items - 1]."""
        return mixed(*self.parts(ask, settings["decay"]), ask, settings)


def followers_baseline(data: RankingData) -> Baseline:
    """Choose the settings on a sample of validation, then rank both parts with them."""
    alike = None if data.titles is None else title_words(data.titles)
    before, final = (_Links(learn, data.num_items, alike) for learn in (data.train, data.fit))
    settings = _chosen(before, data, validation_sample(data))

    def scores(links: _Links, part: Interactions, rows: NDArray[np.int64]) -> Tensor:
        return links.scores(part.take(rows), settings)

    given = (functools.partial(scores, before, data.valid), functools.partial(scores, final, data.test))
    valid, test = (
        rank_targets(part, own, data.num_items, own_items=data.own_items)
        for part, own in zip((data.valid, data.test), given, strict=True)
    )
    return Baseline(FOLLOWERS if alike is None else WITH_WORDS, settings, valid, test, given)


def _chosen(links: _Links, data: RankingData, rows: NDArray[np.int64]) -> dict[str, float]:
    """Return the settings that are best on a sample; sums over histories are computed once for each decay."""

    grid = [
        {"decay": decay, "own": own, "words": words}
        for decay, own, words in itertools.product(
            DECAYS, OWN if data.own_items else OWN[-1:], WORDS if data.titles is not None else WORDS[:1]
        )
    ]
    ranks_of: list[list[Ranks]] = [[] for _ in grid]
    for chosen in in_chunks(rows, data.num_items):
        some = data.valid.take(chosen)
        parts = {decay: links.parts(some, decay) for decay in DECAYS}
        for settings, ranks in zip(grid, ranks_of, strict=True):
            scores = mixed(*parts[settings["decay"]], some, settings)
            given = functools.partial(same, scores)
            ranks.append(rank_targets(some, given, data.num_items, own_items=data.own_items))
    measure, sample = RankingMeasure(data.train.counts_by_item(data.num_items)), data.valid.take(rows)
    figures = [measure.report(joined(ranks), sample)[data.metric] for ranks in ranks_of]
    return grid[int(np.argmax(figures))]


def title_words(titles: Sequence[str | None]) -> sparse.csr_matrix:
    """Return the cosines of the words of titles, rare ones counting more, [num_items, num_items].

    Args:
        titles: Titles of the items from index 1, None for none.
    """
    from llmrec_peft.signals.parts.word_overlap import shared_words

    return shared_words({"title": titles}, pairs=False, most=ALIKE)


def transitions(learn: Interactions, num_items: int) -> sparse.csr_matrix:
    """Return Σ_k (F_k + 0.3 B_k) / k over pairs up to 5 places apart, divided by the root of both items' frequencies.

    Row and column 0 are empty; F_k[i, j] counts how often j came k places after i, B_k how often before it.
    """
    from llmrec_peft.signals.parts.sequence_counts import StepCounts

    counts = StepCounts.of(learn, num_items, STEPS)
    nearness = 1.0 / np.arange(1, STEPS + 1, dtype=np.float32)
    often = np.maximum(learn.counts_by_item(num_items), 1).astype(np.float32)
    value = counts.count * np.concatenate([nearness, BACKWARDS * nearness])[counts.step]
    value /= np.sqrt(often[counts.item] * often[counts.other])
    return sparse.csr_matrix((value, (counts.item, counts.other)), shape=(num_items, num_items), dtype=np.float32)


def decayed(part: Interactions, num_items: int, decay: float) -> sparse.csr_matrix:
    """Return each example's newest entries as [n, num_items], the p-th newest with weight decay^(p - 1)."""
    history = Histories.empty(len(part)) if part.history is None else part.history
    item, _ = history.newest(LENGTH).padded()
    row, place = np.nonzero(item)
    weight = np.float32(decay) ** np.arange(item.shape[1] - 1, -1, -1, dtype=np.float32)
    entries = (weight[place], (row, item[row, place]))
    return sparse.csr_matrix(entries, shape=(len(part), num_items), dtype=np.float32)


def mixed(
    follows: sparse.csr_matrix, alike: sparse.csr_matrix | None, ask: Interactions, settings: dict[str, float]
) -> Tensor:
    """Return scores [n, num_items - 1]: what follows, plus the weighted words, times a factor for own items."""
    import torch

    scores = follows if alike is None else follows + settings["words"] * alike
    dense = np.asarray(scores.toarray(), np.float32)
    if settings["own"] != 1.0:
        own = decayed(ask, dense.shape[1], 1.0).tocoo()
        dense[own.row, own.col] *= settings["own"]
    return torch.from_numpy(dense[:, 1:])
