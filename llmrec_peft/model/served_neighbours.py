"""Served neighbours: counts of which items follow which, beside a trained model's signals, so that both rank as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from llmrec_peft.known_contents import is_known
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from scipy import sparse

    from llmrec_peft.data.batches import Batch

NEIGHBOURS, WITH_TEXTS = "neighbour_counts", "counts_and_text"
"""The baselines' names in reports: counts alone, and counts beside the similarity of texts."""
STRONGEST = 200
"""Counts that are kept of an item, the largest: what a million items can take stays below 2.4 GB."""


class NeighbourOptions(Options):
    """Settings of the counts, as validation chose them."""

    length: int = Field(default=10, ge=1, le=1000)
    """Entries of a history that are read, the newest."""
    logarithm: bool = False
    """Whether the logarithm of a sum of counts is added, and not the sum itself."""
    counts: float | None = Field(default=None, ge=0.0, le=100.0)
    """Weight of the counts beside the cosine of texts; null where no texts are compared."""


class ServedNeighbours(Signal[NeighbourOptions]):
    """cross = w · g(Σ_p N[h_p, i] / p) over the p-th newest entry h_p of a history; g(x) is x, or log(1 + x).

    With texts, cross = w · (Σ_p ⟨t[h_p], t[i]⟩ / p + c · g(…)), with t the vectors of texts divided by their lengths.
    N counts how often two items came one right after the other in training histories. Like `ServedBaseline` it is no
    plugin and never trained: `with_baseline` puts it beside the signals of a finished model. Its tables are the counts,
    as triples of item, neighbour and count, and the weight w.
    """

    summary: ClassVar[str] = "which items follow which, where validation gave it a share"
    Config: ClassVar[type[Options]] = NeighbourOptions
    user_tables: ClassVar[tuple[str, ...]] = ()
    reads_history: ClassVar[bool] = True
    width = 0
    """Width of its vectors: it has none."""
    _items: int
    _counts: sparse.csr_matrix | None = None

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make tables as long as the saved ones, which are held against the number of items.

        Raises:
            ValueError: If a saved table points to no item, or a count is negative.
        """
        saved = context.saved or {}
        pair, count = saved["tables.pair"], saved["tables.count"]
        if pair.dtype != torch.int32 or pair.ndim != 2 or pair.shape[1] != 2:  # noqa: PLR2004 - item and neighbour
            raise ValueError(f"tables.pair is {str(pair.dtype)[6:]} {list(pair.shape)}, not int32 [n, 2]")
        known = is_known()
        if not known and len(pair) and (int(pair.min()) < 1 or int(pair.max()) >= context.num_items):
            raise ValueError(f"tables.pair points to items outside 1 to {context.num_items - 1}")
        if tuple(count.shape) != (len(pair),) or not (known or bool((count >= 0.0).all())):
            raise ValueError("tables.count is not one count of 0 or more for each pair")
        self._items = context.num_items
        return _parts(torch.empty_like(pair), torch.empty_like(count, dtype=torch.float32), torch.zeros(1))

    @classmethod
    def empty(cls, context: SignalContext, options: NeighbourOptions) -> ServedNeighbours:
        """Make the signal with tables of zeros, to be filled from a run folder.

        Args:
            context: Sizes, and the saved tensors under the signal's name.
            options: Its settings.
        """
        signal = cls(options)
        signal.parts = signal.build(context)
        return signal

    @classmethod
    def of(cls, counts: sparse.csr_matrix, options: NeighbourOptions, weight: float) -> ServedNeighbours:
        """Make the signal from counts.

        Args:
            counts: How often each item came beside each other one, [num_items, num_items], row and column 0 empty; of
                each row the `STRONGEST` are kept.
            options: Its settings.
            weight: Factor on what it adds.
        """
        signal = cls(options)
        signal._items = counts.shape[0]
        kept = strongest(counts, STRONGEST).tocoo()
        pair = torch.from_numpy(np.stack([kept.row, kept.col], axis=1).astype(np.int32))
        signal.parts = _parts(pair, torch.from_numpy(kept.data.astype(np.float32)), torch.tensor([weight]))
        return signal

    def grown(self, num_users: int, num_items: int) -> ServedNeighbours:
        """Return the same signal for more items, of which nothing is counted; no table is about users.

        Args:
            num_users: Rows of a user table.
            num_items: Rows of an item table, as many as now or more.
        """
        signal = ServedNeighbours(self.config)
        signal._items, signal.parts = num_items, self.parts
        return signal

    def cross(self, batch: Batch, candidates: Tensor) -> Tensor | None:
        """Return what the entries of each history count for each candidate, [B, C]; None without histories."""
        if batch.history is None:
            return None
        entries = _weighted(batch.history[:, -self.config.length :].cpu().numpy(), self._items)
        found = entries @ self._matrix()
        asked = candidates.cpu().numpy()
        if len(asked) == 1:
            values = found[:, asked[0]].toarray()
        else:
            rows = np.broadcast_to(np.arange(len(asked))[:, None], asked.shape)
            values = np.asarray(found[rows.ravel(), asked.ravel()]).reshape(asked.shape)
        weight: Tensor = self.parts["tables"]["weight"]
        added = torch.from_numpy(np.log1p(values) if self.config.logarithm else values).to(weight)
        if self.config.counts is not None:
            added = self._cosines(batch, batch.history) + self.config.counts * added
        return weight * added

    def _cosines(self, batch: Batch, history: Tensor) -> Tensor:
        """Return the summed cosines of each history's texts with the item's, [B, 1], or the candidates', [B, C]."""
        length = min(self.config.length, history.shape[1])
        texts = torch.nn.functional.normalize(batch.vectors["history"][:, -length:], dim=-1, eps=1e-9)
        place = 1.0 / torch.arange(length, 0, -1, device=texts.device)
        profile = (texts * (place * (history[:, -length:] > 0)).unsqueeze(-1)).sum(1)
        view = "item" if batch.candidates is None else "candidates"
        others = torch.nn.functional.normalize(batch.vectors[view], dim=-1, eps=1e-9)
        return (profile * others).sum(-1, keepdim=True) if batch.candidates is None else profile @ others.T

    def _matrix(self) -> sparse.csr_matrix:
        """Return the counts as a matrix, made once: the tables are frozen."""
        if self._counts is None:
            tables = self.parts["tables"]
            pair, count = tables["pair"].cpu().numpy(), tables["count"].detach().cpu().numpy()
            size = (self._items, self._items)
            from scipy import sparse

            self._counts = sparse.csr_matrix((count, (pair[:, 0], pair[:, 1])), shape=size)
        return self._counts

    def report(self) -> dict[str, Any]:
        """Return how many counts there are."""
        return {"counts": len(self.parts["tables"]["count"])}


def strongest(counts: sparse.csr_matrix, most: int) -> sparse.csr_matrix:
    """Return a sparse matrix of non-negative numbers with the largest `most` of each row."""
    from scipy import sparse

    lengths = np.diff(counts.indptr)
    if lengths.max(initial=0) <= most:
        return counts
    row = np.repeat(np.arange(counts.shape[0]), lengths)
    order = np.lexsort((counts.indices, -counts.data, row))  # of equal counts the first items stay
    place = np.arange(len(row)) - counts.indptr[row]
    kept = order[place < most]
    return sparse.csr_matrix((counts.data[kept], (row[kept], counts.indices[kept])), shape=counts.shape)


def _weighted(history: NDArray[np.int64], items: int) -> sparse.csr_matrix:
    """Return entries of histories [B, L], the newest last, as [B, items]; the p-th newest counts 1 / p."""
    from scipy import sparse

    row, place = np.nonzero(history)
    weight = (1.0 / np.arange(history.shape[1], 0, -1, dtype=np.float32))[place]
    return sparse.csr_matrix((weight, (row, history[row, place])), shape=(len(history), items), dtype=np.float32)


def _parts(pair: Tensor, count: Tensor, weight: Tensor) -> nn.ModuleDict:
    tables = {"pair": pair, "count": count, "weight": weight}
    frozen = {name: nn.Parameter(table, requires_grad=False) for name, table in tables.items()}
    return nn.ModuleDict({"tables": nn.ParameterDict(frozen)})
