"""Baselines of ranking, each tuned on validation: popularity, neighbour counts, similar texts, and their blend."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.measures import RankingMeasure
from llmrec_peft.evaluation.outcomes import CHUNK, Ranks, joined, rank_targets

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE = 3000
"""Validation examples on which settings are chosen, at most."""
LENGTHS = (5, 10)
"""Entries of a history that are read; the p-th newest counts 1 / p."""
SHARES = (0.1, 0.2, 0.3, 0.6, 1.0)
"""Weights of the counts relative to the cosine of texts."""


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
    """

    train: Interactions
    valid: Interactions
    fit: Interactions
    test: Interactions
    num_items: int
    texts: Tensor | None
    own_items: bool
    metric: str


def ranking_baselines(data: RankingData) -> Iterator[Baseline]:
    """Tune every baseline on (a sample of) validation and rank test once."""
    rules: dict[str, list[dict[str, float]]] = {
        "popularity": [{}],
        "neighbour_counts": [{"length": n, "logarithm": g} for n in LENGTHS for g in (0, 1)],
    }
    if data.texts is not None:
        rules["text_cosine"] = [{"length": n} for n in LENGTHS]
        rules["counts_and_text"] = [
            {"length": n, "logarithm": g, "counts": w} for n in LENGTHS for g in (0, 1) for w in SHARES
        ]
    for name, grid in rules.items():
        yield _tuned(name, grid, data)


def _tuned(name: str, grid: list[dict[str, float]], data: RankingData) -> Baseline:
    """Choose a baseline's settings on validation, then rank both parts with them."""
    settings = grid[0] if len(grid) == 1 else _chosen(name, grid, data)
    rankers = (
        _Ranker(name, settings, data.train, data.valid, data),
        _Ranker(name, settings, data.fit, data.test, data),
    )
    scores = (rankers[0].scores, rankers[1].scores)
    valid, test = (
        rank_targets(part, own, data.num_items, own_items=data.own_items)
        for part, own in zip((data.valid, data.test), scores, strict=True)
    )
    return Baseline(name, settings, valid, test, scores)


def _chosen(name: str, grid: list[dict[str, float]], data: RankingData) -> dict[str, float]:
    """Return the settings that are best on (a sample of) validation; what they share is computed once per chunk."""
    measure = RankingMeasure(data.train.counts_by_item(data.num_items))
    rows = np.arange(len(data.valid))
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:SAMPLE])
    some = data.valid.take(rows)
    ranks_of: list[list[Ranks]] = [[] for _ in grid]
    rankers = {length: _Ranker(name, {**grid[0], "length": length}, data.train, some, data) for length in LENGTHS}
    for at in range(0, len(some), CHUNK):
        chosen = np.arange(at, min(at + CHUNK, len(some)))
        parts = {length: ranker.parts(chosen) for length, ranker in rankers.items()}
        for settings, ranks in zip(grid, ranks_of, strict=True):
            mixed = functools.partial(_mixed, *parts[int(settings["length"])], settings)
            own = data.own_items
            ranks.append(rank_targets(some.take(chosen), lambda _, m=mixed: m(), data.num_items, own_items=own))  # type: ignore[misc]
    figures = [measure.report(joined(ranks), some)[data.metric] for ranks in ranks_of]
    return grid[int(np.argmax(figures))]


class _Ranker:
    """Scores of a part by one baseline."""

    def __init__(
        self, name: str, settings: Mapping[str, float], learn: Interactions, ask: Interactions, data: RankingData
    ) -> None:
        import torch

        self._settings, self._num_items = settings, data.num_items
        self._popularity: Tensor | None = None
        self._weights: Any = None
        self._beside: Any = None
        self._vectors: NDArray[np.float32] | None = None
        if name == "popularity":
            self._popularity = torch.from_numpy(learn.counts_by_item(data.num_items)[1:].astype(np.float32))
            return
        self._weights = weighted_histories(ask, data.num_items, int(settings["length"]))
        if "logarithm" in settings:
            self._beside = neighbour_counts(learn, data.num_items)
        if data.texts is not None and name != "neighbour_counts":
            self._vectors = _unit(data.texts)

    def scores(self, rows: NDArray[np.int64]) -> Tensor:
        """Return scores of some examples for the whole catalogue, [rows, num_items - 1]."""
        if self._popularity is not None:
            return self._popularity.expand(len(rows), -1).clone()
        return _mixed(*self.parts(rows), self._settings)

    def parts(self, rows: NDArray[np.int64]) -> tuple[Tensor | None, Tensor | None]:
        """Return counts and cosines of some examples, each [rows, num_items - 1], or None if unused."""
        import torch

        own = self._weights[rows]
        counts = cosines = None
        if self._beside is not None:
            counts = torch.from_numpy((own @ self._beside)[:, 1:].toarray())
        if self._vectors is not None:
            profiles = torch.from_numpy(np.asarray(own @ self._vectors, np.float32))
            cosines = profiles @ torch.from_numpy(self._vectors[1:]).T
        return counts, cosines


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
    order = np.lexsort((np.arange(len(learn)), learn.timestamp, learn.user))
    user, item = learn.user[order], learn.item[order]
    follows = user[1:] == user[:-1]
    first, second = item[:-1][follows], item[1:][follows]
    ones = np.ones(len(first), np.float32)
    forward = sparse.csr_matrix((ones, (first, second)), shape=(num_items, num_items))
    return (forward + forward.T).tocsr()


def _unit(vectors: Tensor) -> NDArray[np.float32]:
    array = vectors.detach().float().cpu().numpy()
    return np.asarray(array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-9), np.float32)
