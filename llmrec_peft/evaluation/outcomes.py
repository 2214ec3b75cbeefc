"""Outcomes: what a model predicted for a part, in the form that its task is measured in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions

if TYPE_CHECKING:
    from llmrec_peft.model.rec_model import ChunkScores

CHUNK = 256
"""Examples that are ranked at a time: 256 times 20,000 scores take 20 MiB."""


@dataclass(frozen=True)
class Ranks:
    """Where each example's item came out in the whole catalogue, and what stood first.

    Attributes:
        rank: 1 for the first, ties counted half, float64 [n].
        top: Items of the first places, int64 [n, k]; 0 is no item.
        sampled: Rank among randomly drawn items instead, float64 [n]; None where that was not asked for.
    """

    rank: NDArray[np.float64]
    top: NDArray[np.int64]
    sampled: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rank)

    def take(self, rows: NDArray[Any]) -> Ranks:
        """The outcome of some examples."""
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

    Never more than `chunk` rows of scores are in memory.

    Args:
        part: Examples, with histories where own items are to be left out.
        scores: Scores of some examples, by their rows in `part`.
        num_items: Rows of an item table.
        k: Items kept of the front.
        own_items: Whether items of an example's history are ranked too. Where they are not, an example whose
            item stands in its history cannot be found and ranks last.
        sampled: Rank among so many items drawn uniformly beside the example's own, too.
        chunk: Examples at a time.
        progress: Called with the number of examples that were ranked.
    """
    import torch

    n, k = len(part), min(k, num_items - 1)
    rank, top = np.empty(n), np.zeros((n, k), np.int64)
    among = np.empty(n) if sampled is not None else None
    rng = np.random.default_rng(0)
    for at in range(0, n, chunk):
        rows = np.arange(at, min(n, at + chunk))
        found = torch.nan_to_num(scores(rows).float(), nan=-torch.inf)  # what is no number ranks last
        target = torch.from_numpy(part.item[rows] - 1).to(found.device)[:, None]
        if not own_items and part.history is not None:
            own = torch.from_numpy(part.history.take(rows).padded()[0]).to(found.device)
            place = torch.arange(len(rows), device=found.device)[:, None].expand_as(own)
            found[place[own > 0], own[own > 0] - 1] = -torch.inf
        value = found.gather(1, target)
        better = (found > value).sum(1, dtype=torch.int32)  # on a CPU three times as fast as in 64 bits
        alike = (found == value).sum(1, dtype=torch.int32) - 1
        rank[rows] = (1.0 + better.double() + 0.5 * alike.double()).cpu().numpy()
        best = found.topk(k, dim=1)
        listed = torch.where(best.values > -torch.inf, best.indices + 1, torch.zeros_like(best.indices))
        top[rows] = listed.cpu().numpy()
        if among is not None and sampled is not None:
            drawn = torch.from_numpy(_others(part.item[rows], num_items, sampled, rng) - 1).to(found.device)
            others = found.gather(1, drawn)
            ahead = (others > value).sum(1).double() + 0.5 * (others == value).sum(1).double()
            among[rows] = (1.0 + ahead).cpu().numpy()
        if progress is not None:
            progress(len(rows))
    return Ranks(rank, top, among)


def joined(ranks: Sequence[Ranks]) -> Ranks:
    """Ranks of several parts of a whole, one after the other."""
    return Ranks(np.concatenate([one.rank for one in ranks]), np.concatenate([one.top for one in ranks]))


def _others(item: NDArray[np.int64], num_items: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Items drawn uniformly, never the example's own, [n, count]."""
    drawn = rng.integers(1, num_items - 1, (len(item), count))
    return np.asarray(drawn + (drawn >= item[:, None]), np.int64)
