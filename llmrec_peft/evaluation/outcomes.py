"""Outcomes: a model's predictions of a part, in the form that its task's metrics read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.finite import require_finite
from llmrec_peft.data.interactions import Interactions

if TYPE_CHECKING:
    from llmrec_peft.model.rec_model import ChunkScores

CHUNK = 256
"""Examples that are ranked together: 256 times 20,000 scores take 20 MiB."""


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


def rank_targets(
    part: Interactions,
    scores: ChunkScores,
    num_items: int,
    k: int = 10,
    own_items: bool = True,
    sampled: int | None = None,
    chunk: int = CHUNK,
    progress: Callable[[int], None] | None = None,
) -> Ranks:
    """Rank each example's item in the whole catalogue, a chunk of examples at a time.

    At most `chunk` rows of scores are in memory at a time.

    Args:
        part: Examples, with histories if own items are left out.
        scores: Scores of some examples, by their rows in `part`.
        num_items: Rows of an item table.
        k: Number of top items that are kept.
        own_items: Whether items of an example's history are ranked too. If not, an example whose item stands in its
            history ranks last.
        sampled: Number of uniformly drawn items among which the example's own item is ranked as well.
        chunk: Examples per chunk.
        progress: Called with the number of examples ranked so far.

    Raises:
        NotFiniteError: If a score is nan or positive infinity.
    """
    import torch

    n, k = len(part), min(k, num_items - 1)
    rank, top = np.empty(n), np.zeros((n, k), np.int64)
    among = np.empty(n) if sampled is not None else None
    rng = np.random.default_rng(0)
    for at in range(0, n, chunk):
        rows = np.arange(at, min(n, at + chunk))
        found = scores(rows).float()
        if not bool(found.amax() < torch.inf):  # nan is not below it either; what is left out may be -inf
            require_finite(found.cpu().numpy(), "scores of the catalogue")
        table = torch.nan_to_num(found)
        target = torch.from_numpy(part.item[rows] - 1).to(table.device)[:, None]
        if not own_items and part.history is not None:
            own = torch.from_numpy(part.history.take(rows).padded()[0]).to(table.device)
            row = torch.arange(len(rows), device=table.device)[:, None].expand_as(own)
            table[row[own > 0], own[own > 0] - 1] = -torch.inf
        value = table.gather(1, target)
        better = (table > value).sum(1, dtype=torch.int32)  # on a CPU three times as fast as in 64 bits
        alike = (table == value).sum(1, dtype=torch.int32) - 1
        rank[rows] = (1.0 + better.double() + 0.5 * alike.double()).cpu().numpy()
        best = table.topk(k, dim=1)
        listed = torch.where(best.values > -torch.inf, best.indices + 1, torch.zeros_like(best.indices))
        top[rows] = listed.cpu().numpy()
        if among is not None and sampled is not None:
            drawn = torch.from_numpy(_others(part.item[rows], num_items, sampled, rng) - 1).to(table.device)
            others = table.gather(1, drawn)
            ahead = (others > value).sum(1).double() + 0.5 * (others == value).sum(1).double()
            among[rows] = (1.0 + ahead).cpu().numpy()
        if progress is not None:
            progress(len(rows))
    return Ranks(rank, top, among)


def joined(ranks: Sequence[Ranks]) -> Ranks:
    """Join the ranks of several parts, one after the other."""
    return Ranks(np.concatenate([one.rank for one in ranks]), np.concatenate([one.top for one in ranks]))


def _others(item: NDArray[np.int64], num_items: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw items uniformly, never the example's own, [n, count]."""
    drawn = rng.integers(1, num_items - 1, (len(item), count))
    return np.asarray(drawn + (drawn >= item[:, None]), np.int64)
