"""HistoryEntries: who stands in whose history, as sparse rows of which a step multiplies those that it asks for."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from llmrec_peft.signals.parts.row_table import RowTable

Kind = Literal["seen", "rated"]
"""Weight of an entry: 1 (times its repetitions), or its residual."""


class HistoryEntries:
    """The entries of one side's histories; they never change, so copies of a model share them.

    Attributes:
        kept: Entries of each row that are kept, int64 [num_own].
    """

    def __init__(
        self,
        own: NDArray[np.int64],
        other: NDArray[np.int64],
        residual: NDArray[np.float32],
        timestamp: NDArray[np.int64],
        shape: tuple[int, int],
        longest: int | None,
    ) -> None:
        """Sort the entries by row.

        Args:
            own: This side's index of each interaction, int64 [n].
            other: The other side's, int64 [n].
            residual: Rating less the other side's mean, float32 [n].
            timestamp: When it took place, int64 [n]; of equal ones the later row counts as newer.
            shape: Rows of this side and of the other.
            longest: Entries kept of a row, the newest; None for all.
        """
        counts = np.bincount(own, minlength=shape[0])
        self._cut = longest is not None and bool(counts.max(initial=0) > longest)
        if longest is not None and self._cut:
            rows = _newest(own, timestamp, counts, longest)
            own, other, residual = own[rows], other[rows], residual[rows]
            counts = np.minimum(counts, longest)
        self.kept = counts
        seen, rated = (csr_array((values, (own, other)), shape=shape) for values in (np.ones_like(residual), residual))
        seen.sum_duplicates()
        rated.sum_duplicates()
        self._values: dict[Kind, NDArray[np.float32]] = {"seen": seen.data, "rated": rated.data}
        self._entries = csr_array((np.arange(seen.nnz), seen.indices, seen.indptr), shape=shape)
        self._keys: NDArray[np.int64] | None = None
        self._whole: Chosen | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> HistoryEntries:
        """Return the same entries."""
        return self

    def choose(self, own: Tensor) -> tuple[Chosen, Tensor]:
        """Return the rows that a batch asks for, and the place of each of its examples among them, int64 [B].

        Where they hold most of the entries, all rows are returned: those are prepared once.

        Args:
            own: This side's indices, int64 [B].
        """
        rows, place = np.unique(own.cpu().numpy(), return_inverse=True)
        bounds = self._entries.indptr
        asked = int((bounds[rows + 1] - bounds[rows]).sum())
        if 2 * asked > self._entries.nnz:
            return self.whole(), own
        return Chosen(self._entries[rows], self._values), torch.from_numpy(place).to(own.device)

    def whole(self) -> Chosen:
        """Return all rows."""
        if self._whole is None:
            self._whole = Chosen(self._entries, self._values)
        return self._whole

    def contains(self, own: Tensor, other: Tensor) -> Tensor | None:
        """Return which pairs [B, K] are among the kept entries, float32; None where all entries are kept.

        Args:
            own: This side's indices, int64 [B].
            other: The other side's, int64 [B, K].
        """
        if not self._cut:
            return None
        entries, width = self._entries, np.int64(self._entries.shape[1])
        if self._keys is None:
            row_of = np.repeat(np.arange(entries.shape[0], dtype=np.int64), np.diff(entries.indptr))
            self._keys = row_of * width + entries.indices
        asked = own.cpu().numpy()[:, None] * width + other.cpu().numpy()
        at = np.minimum(np.searchsorted(self._keys, asked), len(self._keys) - 1)
        return torch.from_numpy((self._keys[at] == asked).astype(np.float32)).to(own.device)


class Chosen:
    """Some rows of a side's histories, ready to be multiplied with tables of the other side."""

    def __init__(self, entries: csr_array, values: dict[Kind, NDArray[np.float32]]) -> None:
        """Keep entries, whose data are their numbers, and the values of all entries by number."""
        self._entries, self._values = entries, values
        self._columns: Tensor | None = None
        self._scored: dict[tuple[Kind, int], tuple[Tensor, int, Tensor]] = {}
        self._matrices: dict[tuple[Kind, bool, torch.device], tuple[Tensor, Tensor]] = {}

    def sums(self, table: RowTable, *kinds: Kind) -> list[Tensor]:
        """Return Σ weight · row over the entries of each chosen row, one [rows, d] for each kind of weight."""
        if self._columns is None or self._columns.device != table.weight.device:
            self._columns = torch.from_numpy(self._entries.indices.astype(np.int64)).to(table.weight.device)
        rows, place = table.read(self._columns)
        if torch.is_grad_enabled():
            self._scored.clear()
        elif place is None:
            return [self._looked_up(kind, rows) for kind in kinds]
        return [self._product(kind, rows, place) for kind in kinds]

    def _looked_up(self, kind: Kind, table: Tensor) -> Tensor:
        """Return sums that are computed once for all pairs that are scored, until the table changes."""
        known = self._scored.get((kind, id(table)))
        if known is None or known[0] is not table or known[1] != table._version:
            known = (table, table._version, self._product(kind, table, None))
            self._scored[kind, id(table)] = known
        return known[2]

    @property
    def columns(self) -> NDArray[np.int64]:
        """The other side's index of each entry, row by row, int64 [entries]."""
        indices: NDArray[np.int64] = self._entries.indices.astype(np.int64)
        return indices

    def of_rows(self, rows: Tensor, place: Tensor, kind: Kind = "seen") -> Tensor:
        """Return the sums over some rows of a table, [rows, d].

        Args:
            rows: The rows that the entries read, float32 [n, d].
            place: Place of each entry's row among them, int64 [entries]; the same in every call.
        """
        return self._product(kind, rows, place)

    def of_tensor(self, table: Tensor, kind: Kind) -> Tensor:
        """Return the sums over rows of a tensor [num_other, d]."""
        return self._product(kind, table, None)

    def _product(self, kind: Kind, rows: Tensor, place: Tensor | None) -> Tensor:
        name = (kind, place is not None, rows.device)
        if name not in self._matrices:
            self._matrices[name] = self._made(kind, len(rows), rows.device, place)
        product: Tensor = _SparseProduct.apply(*self._matrices[name], rows)  # type: ignore[no-untyped-call]
        return product

    def _made(self, kind: Kind, width: int, device: torch.device, place: Tensor | None) -> tuple[Tensor, Tensor]:
        """Make the matrix of the chosen rows and its transpose, their columns renumbered by `place`."""
        columns = self._entries.indices if place is None else place.cpu().numpy().astype(np.int32)
        shape = (self._entries.shape[0], width)
        numbered = csr_array((self._entries.data, columns, self._entries.indptr), shape=shape)
        turned = numbered.tocsc()  # a counting sort: several times as fast as sorting
        values = self._values[kind]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that the layout is in beta
            made = [
                torch.sparse_csr_tensor(
                    torch.from_numpy(part.indptr),
                    torch.from_numpy(part.indices),
                    torch.from_numpy(values[part.data]),
                    size,
                    check_invariants=False,
                ).to(device)
                for part, size in ((numbered, shape), (turned, shape[::-1]))
            ]
        return made[0], made[1]


class _SparseProduct(torch.autograd.Function):
    """A @ X for a constant sparse A whose transpose is given (autograd would compute it in every step)."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, table: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ table

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradient.contiguous()


def _newest(
    own: NDArray[np.int64], timestamp: NDArray[np.int64], counts: NDArray[np.int64], longest: int
) -> NDArray[np.int64]:
    """Return the interactions that are among the newest of their row, row by row."""
    order = np.argsort(timestamp, kind="stable")
    numbered = (order, (own[order], np.arange(len(own))))
    by_row = csr_array(numbered, shape=(len(counts), len(own))).data  # a counting sort, which keeps the order of times
    rank = np.repeat(np.cumsum(counts), counts) - np.arange(len(own))  # 1 for the newest
    kept: NDArray[np.int64] = by_row[rank <= longest]
    return kept
