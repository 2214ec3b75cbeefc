"""Baselines of ranking, each tuned on validation: popularity, counts of what follows, similar texts, links."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.order import in_time
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.baselines.followers import followers_baseline
from llmrec_peft.evaluation.baselines.people import People, people_rules
from llmrec_peft.evaluation.baselines.ranking_data import RankingData, same, validation_sample
from llmrec_peft.evaluation.baselines.unit_vectors import unit_vectors
from llmrec_peft.evaluation.measures import RankingMeasure
from llmrec_peft.evaluation.outcomes import Ranks, in_chunks, joined, rank_targets

if TYPE_CHECKING:
    from torch import Tensor

LENGTHS = (5, 10)
"""Entries of a history that are read; the p-th newest counts 1 / p."""
SHARES = (0.1, 0.2, 0.3, 0.6, 1.0)
"""Weights of the counts relative to the cosine of texts."""


Settings = dict[str, float]


def ranking_baselines(data: RankingData) -> Iterator[Baseline]:
    """Tune every baseline on (a sample of) validation and rank test once."""
    rules: dict[str, list[Settings]] = {
        "popularity": [{}],
        "neighbour_counts": [{"length": n, "logarithm": g} for n in LENGTHS for g in (0, 1)],
    }
    if data.texts is not None:
        rules["text_cosine"] = [{"length": n} for n in LENGTHS]
        rules["counts_and_text"] = [
            {"length": n, "logarithm": g, "counts": w} for n in LENGTHS for g in (0, 1) for w in SHARES
        ]
    texts = None if data.texts is None else _Texts(data.texts)
    people: dict[str, list[Settings]] = {}
    if data.train.oneself is not None:
        people = people_rules(data.preferences is not None)
    evidence = (
        _Evidence(data.train, data.valid, data.num_items, texts),
        _Evidence(data.fit, data.test, data.num_items, texts),
    )
    for name, grid in rules.items():
        yield _tuned(name, grid, data, evidence)
    for name, grid in people.items():
        known = tuple(People(part, data.num_items, data.preferences) for part in (data.train, data.fit))
        yield _tuned_on_people(name, grid, data, (known[0], known[1]))
    yield followers_baseline(data)


def _tuned(name: str, grid: list[Settings], data: RankingData, evidence: tuple[_Evidence, _Evidence]) -> Baseline:
    """Choose a baseline's settings on validation, then rank both parts with them."""
    settings = grid[0] if len(grid) == 1 else _chosen(name, grid, data, evidence[0])
    scores = tuple(functools.partial(one.scores, name, settings) for one in evidence)
    valid, test = (
        rank_targets(part, own, data.num_items, own_items=data.own_items)
        for part, own in zip((data.valid, data.test), scores, strict=True)
    )
    return Baseline(name, settings, valid, test, (scores[0], scores[1]))


def _chosen(name: str, grid: list[Settings], data: RankingData, evidence: _Evidence) -> Settings:
    """Return the settings that are best on (a sample of) validation; what they share is computed once per chunk."""
    measure = RankingMeasure(data.train.counts_by_item(data.num_items))
    rows = validation_sample(data)
    ranks_of: list[list[Ranks]] = [[] for _ in grid]
    for chosen in in_chunks(rows, data.num_items):
        some = data.valid.take(chosen)
        for length in LENGTHS:
            parts = evidence.parts(name, length, chosen)
            for settings, ranks in zip(grid, ranks_of, strict=True):
                if settings["length"] == length:
                    mixed = functools.partial(same, _mixed(*parts, settings))
                    ranks.append(rank_targets(some, mixed, data.num_items, own_items=data.own_items))
    sample = data.valid.take(rows)
    figures = [measure.report(joined(ranks), sample)[data.metric] for ranks in ranks_of]
    return grid[int(np.argmax(figures))]


def _tuned_on_people(name: str, grid: list[Settings], data: RankingData, known: tuple[People, People]) -> Baseline:
    """Choose the settings of a baseline of links on validation, then rank both parts with them."""

    def scores(people: People, part: Interactions, settings: Settings, rows: NDArray[np.int64]) -> Tensor:
        return people.scores(
            name, settings, np.zeros(len(rows), np.int64) if part.oneself is None else part.oneself[rows]
        )

    def ranked(people: People, part: Interactions, settings: Settings) -> Ranks:
        own = functools.partial(scores, people, part, settings)
        return rank_targets(part, own, data.num_items, own_items=data.own_items)

    measure = RankingMeasure(data.train.counts_by_item(data.num_items))
    sample = data.valid.take(validation_sample(data))
    figures = [measure.report(ranked(known[0], sample, one), sample)[data.metric] for one in grid]
    settings = grid[int(np.argmax(figures))]
    of = [functools.partial(scores, known[at], part, settings) for at, part in enumerate((data.valid, data.test))]
    outcomes = [ranked(known[at], part, settings) for at, part in enumerate((data.valid, data.test))]
    return Baseline(name, settings, outcomes[0], outcomes[1], (of[0], of[1]))


class _Evidence:
    """What all baselines read for the examples of one part, computed when the first of them asks for it."""

    def __init__(self, learn: Interactions, ask: Interactions, num_items: int, texts: _Texts | None) -> None:
        self._learn, self._ask, self._num_items, self._texts = learn, ask, num_items, texts

    @cached_property
    def _popularity(self) -> Tensor:
        import torch

        return torch.from_numpy(self._learn.counts_by_item(self._num_items)[1:].astype(np.float32))

    @cached_property
    def _beside(self) -> Any:
        return neighbour_counts(self._learn, self._num_items)

    def scores(self, name: str, settings: Settings, rows: NDArray[np.int64]) -> Tensor:
        """Return scores of some examples for the whole catalogue, [rows, num_items - 1]."""
        if name == "popularity":
            return self._popularity.expand(len(rows), -1)
        return _mixed(*self.parts(name, int(settings["length"]), rows), settings)

    def parts(self, name: str, length: int, rows: NDArray[np.int64]) -> tuple[Tensor | None, Tensor | None]:
        """Return counts and cosines of some examples, each [rows, num_items - 1], or None if unused."""
        import torch

        own = weighted_histories(self._ask.take(rows), self._num_items, length)
        counts = cosines = None
        if name != "text_cosine":
            counts = torch.from_numpy((own @ self._beside).toarray()[:, 1:])
        if self._texts is not None and name != "neighbour_counts":
            profiles = torch.from_numpy(np.asarray(own @ self._texts.unit, np.float32))
            cosines = profiles @ torch.from_numpy(self._texts.unit[1:]).T
        return counts, cosines


class _Texts:
    """Unit vectors of items' texts, one copy for all baselines."""

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors

    @cached_property
    def unit(self) -> NDArray[np.float32]:
        return unit_vectors(self._vectors)


def _mixed(counts: Tensor | None, cosines: Tensor | None, settings: Mapping[str, float]) -> Tensor:
    """Counts, cosines, or both with the weight that validation chose."""
    if counts is not None:
        counts = counts.log1p() if settings["logarithm"] else counts
    if counts is not None and cosines is not None:
        return cosines + settings["counts"] * counts
    alone = cosines if counts is None else counts
    if alone is None:
        raise ValueError("a baseline of rankings reads counts, texts or both")
    return alone


def weighted_histories(part: Interactions, num_items: int, length: int) -> Any:
    """Return each example's newest entries, the p-th newest with weight 1 / p, as a sparse matrix [n, num_items]."""
    history = Histories.empty(len(part)) if part.history is None else part.history
    item, _ = history.newest(length).padded()
    weight = np.broadcast_to(1.0 / np.arange(item.shape[1], 0, -1, dtype=np.float32), item.shape)
    row, column = np.nonzero(item)
    entries = (weight[row, column], (row, item[row, column]))
    return sparse.csr_matrix(entries, shape=(len(part), num_items), dtype=np.float32)


def neighbour_counts(learn: Interactions, num_items: int) -> Any:
    """Count how often each item came right before or after each other one, [num_items, num_items], sparse."""
    order = in_time(learn.user, learn.timestamp)
    user, item = learn.user[order], learn.item[order]
    follows = user[1:] == user[:-1]
    first, second = item[:-1][follows], item[1:][follows]
    ones = np.ones(len(first), np.float32)
    forward = sparse.csr_matrix((ones, (first, second)), shape=(num_items, num_items))
    return (forward + forward.T).tocsr()
