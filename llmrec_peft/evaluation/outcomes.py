"""Outcomes: a model's predictions of a part, in the form that its task's metrics read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.finite import require_finite
from llmrec_peft.data.interactions import Interactions

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.model.rec_model import ChunkScores

CHUNK = 256
"""Examples that are ranked together, at most."""
SCORES = 128 << 20
"""Bytes of the scores of a whole catalogue that are in memory at a time: 256 examples up to 131,072 items, 33 of a
million. What computes them may take a few times as much."""
COMPARED = 8 << 20
"""Bytes of scores that are copied and compared together."""


@dataclass(frozen=True)
class Ranks:
    """Rank of each example's item in the whole catalogue, and the items ranked first.

    Attributes:
        rank: 1 for the first, ties count half, float64 [n].
        top: Items of the first ranks, int64 [n, k]; 0 is no item.
        sampled: Rank among randomly drawn items instead, float64 [n]; None if not asked for.
    """

    rank: NDArray[np.float64]
    top: NDArray[np.int64]
    sampled: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rank)

    def take(self, rows: NDArray[Any]) -> Ranks:
        """Return the ranks of some examples."""
        return Ranks(self.rank[rows], self.top[rows], None if self.sampled is None else self.sampled[rows])


Outcome = NDArray[np.floating] | Ranks
"""Scores of pairs, [n], or ranks in the catalogue."""


def in_chunks(rows: NDArray[np.int64], num_items: int, chunk: int | None = None) -> Iterator[NDArray[np.int64]]:
    """Divide examples into those that are ranked together: at most `CHUNK`, and `SCORES` bytes of scores.

    Args:
        rows: Rows of the examples.
        num_items: Rows of an item table.
        chunk: Number of examples instead.
    """
    step = chunk or max(1, min(CHUNK, SCORES // (4 * num_items)))
    for at in range(0, len(rows), step):
        yield rows[at : at + step]


def sampled_rows(count: int, most: int) -> NDArray[np.int64]:
    """Return all row numbers in order, or `most` of them drawn once and for all, int64 [min(count, most)]."""
    rows = np.arange(count)
    return rows if count <= most else np.sort(np.random.default_rng(0).permutation(rows)[:most])


def rank_targets(
    part: Interactions,
    scores: ChunkScores,
    num_items: int,
    k: int = 10,
    own_items: bool = True,
    sampled: int | None = None,
    chunk: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Ranks:
    """Rank each example's item in the whole catalogue, a chunk of examples at a time.

    At most `SCORES` bytes of scores are in memory at a time, and copies of `COMPARED` bytes of them; the given scores
    stay as they are.

    Args:
        part: Examples, with histories if own items are left out.
        scores: Scores of some examples, by their rows in `part`.
        num_items: Rows of an item table.
        k: Number of top items that are kept.
        own_items: Whether items of an example's history are ranked too. If not, an example whose item stands in its
            history ranks last. The item that is the user himself (`Interactions.oneself`) is never ranked.
        sampled: Number of uniformly drawn items among which the example's own item is ranked as well.
        chunk: Examples per chunk; by default as many as `in_chunks` says.
        progress: Called with the number of examples of each chunk.

    Raises:
        NotFiniteError: If a score is nan or positive infinity.
    """
    import torch

    n, k = len(part), min(k, num_items - 1)
    rank, top = np.empty(n), np.zeros((n, k), np.int64)
    among = np.empty(n) if sampled is not None else None
    rng = np.random.default_rng(0)
    step = max(1, COMPARED // (4 * num_items))
    for rows in in_chunks(np.arange(n), num_items, chunk):
        found = scores(rows).float()
        if not bool(found.amax() < torch.inf):  # nan is not below it either; what is left out may be -inf
            require_finite(found.cpu().numpy(), "scores of the catalogue")
        drawn = None if sampled is None else _others(part.item[rows], num_items, sampled, rng)
        for at in range(0, len(rows), step):
            some = rows[at : at + step]
            table = _table(part.take(some), found[at : at + step], own_items)
            value = table.gather(1, torch.from_numpy(part.item[some] - 1).to(table.device)[:, None])
            rank[some] = _places(table, value)
            best = table.topk(k, dim=1)
            listed = torch.where(best.values > -torch.inf, best.indices + 1, torch.zeros_like(best.indices))
            top[some] = listed.cpu().numpy()
            if among is not None and drawn is not None:
                others = table.gather(1, torch.from_numpy(drawn[at : at + step] - 1).to(table.device))
                among[some] = _places(torch.cat([value, others], dim=1), value)
        if progress is not None:
            progress(len(rows))
    return Ranks(rank, top, among)


def _table(part: Interactions, scores: Tensor, own_items: bool) -> Tensor:
    """Return a copy of scores, [n, items], without those of the examples' own items, if these are left out."""
    import torch

    table = torch.nan_to_num(scores)
    if part.oneself is not None:
        (there,) = np.nonzero(part.oneself)
        table[torch.from_numpy(there), torch.from_numpy(part.oneself[there] - 1)] = -torch.inf
    if not own_items and part.history is not None:
        own = torch.from_numpy(part.history.padded()[0]).to(table.device)
        row = torch.arange(len(part), device=table.device)[:, None].expand_as(own)
        table[row[own > 0], own[own > 0] - 1] = -torch.inf
    return table


def _places(table: Tensor, value: Tensor) -> NDArray[np.float64]:
    """Return the place of one of each row's scores, [n, 1], among all, [n, m]; ties count half."""
    import torch

    better = (table > value).sum(1, dtype=torch.int32)  # on a CPU three times as fast as in 64 bits
    alike = (table == value).sum(1, dtype=torch.int32) - 1
    places: NDArray[np.float64] = (1.0 + better.double() + 0.5 * alike.double()).cpu().numpy()
    return places


def joined(ranks: Sequence[Ranks]) -> Ranks:
    """Join the ranks of several parts, one after the other."""
    return Ranks(np.concatenate([one.rank for one in ranks]), np.concatenate([one.top for one in ranks]))


def _others(item: NDArray[np.int64], num_items: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw items uniformly, never the example's own, [n, count]."""
    drawn = rng.integers(1, num_items - 1, (len(item), count))
    return np.asarray(drawn + (drawn >= item[:, None]), np.int64)
