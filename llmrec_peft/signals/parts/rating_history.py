"""Sums over rating histories: the items that a user rated and the users who rated an item, without the target."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmrec_peft.data.interactions import Interactions


class _SparseProduct(torch.autograd.Function):
    """A @ X for a constant sparse A whose transpose is given (autograd would compute it in every step)."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, table: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ table

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradient.contiguous()


@dataclass(frozen=True)
class LeftOut:
    """Entries to be left out of rows' histories: a row's own example in training, or the entries being explained.

    Attributes:
        other: Index of each entry on the other side, int64 [B, K].
        residual: Its residual, float32 [B, K].
        there: 1 where there is an entry, float32 [B, K].
    """

    other: Tensor
    residual: Tensor
    there: Tensor

    @classmethod
    def one(cls, other: Tensor, residual: Tensor) -> LeftOut:
        """Make one entry per row from [B] each."""
        return cls(other[:, None], residual[:, None], torch.ones_like(residual)[:, None])

    @property
    def count(self) -> Tensor:
        """How many entries a row, [B]."""
        return self.there.sum(1)

    @property
    def total(self) -> Tensor:
        """Sum of their residuals, [B]."""
        return (self.there * self.residual).sum(1)

    def rows(self, table: Tensor, rated: bool = False) -> Tensor:
        """Return the sum of the table rows of the entries, each times its residual if `rated`, [B, d]."""
        weight = self.there * self.residual if rated else self.there
        return (weight.unsqueeze(-1) * table[self.other]).sum(1)


class SideHistory(nn.Module):
    """Histories of one side (users over items, or items over users).

    With e the rating less the other side's mean, e̅ the row's own shrunk mean of e and n the history's length,
    `sums` gives for each row of the side

        implicit  n^-1/2 Σ_j Y_j          explicit  n^-1/2 Σ_j (e_j - e̅) X_j

    and `statistics` gives (e̅, log(1 + n) / 5, e̅ · log(1 + n) / 5). In training the example itself is in the history;
    its own term is left out of all of them, else the model would read the answer.

    References:
        Koren, Factorization Meets the Neighborhood, KDD 2008, sections 4 and 5 (SVD++, asymmetric SVD).
    """

    def __init__(
        self, own: Tensor, other: Tensor, residual: Tensor, num_own: int, num_other: int, trained: Tensor
    ) -> None:
        """Build the sparse matrices.

        Args:
            own: This side's index of each interaction, int64 [n].
            other: The other side's, int64 [n].
            residual: Rating less the other side's mean, float32 [n].
            num_own: Rows of this side.
            num_other: Rows of the other side.
            trained: Which rows of this side tables and biases were trained for, bool [num_own].
        """
        super().__init__()
        self.trained: Tensor
        self.register_buffer("trained", trained, persistent=False)
        self.seen: Tensor
        self.seen_t: Tensor
        self.rated: Tensor
        self.rated_t: Tensor
        ones = torch.ones_like(residual)
        for name, values in (("seen", ones), ("rated", residual)):
            self.register_buffer(name, _csr(own, other, values, num_own, num_other), persistent=False)
            self.register_buffer(f"{name}_t", _csr(other, own, values, num_other, num_own), persistent=False)
        self.count: Tensor
        self.total: Tensor
        self.register_buffer("count", torch.bincount(own, minlength=num_own).float(), persistent=False)
        total = torch.zeros(num_own).index_add_(0, own, residual)
        self.register_buffer("total", total, persistent=False)
        self.settled: dict[str, Tensor] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> SideHistory:
        """Copy with statistics of its own; the matrices never change, and torch cannot copy sparse ones."""
        for matrix in (self.seen, self.seen_t, self.rated, self.rated_t):
            memo[id(matrix)] = matrix
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def settle(self, implicit: Tensor | None, explicit: Tensor | None) -> None:
        """Compute the sums over these tables once, since they no longer change; `add` includes further ratings.

        Args:
            implicit: Table of `implicit`, [num_other, d]; None if there is none.
            explicit: Table of `explicit`, [num_other, d]; None if there is none.
        """
        self.settled = {}
        if implicit is not None:
            self.settled["implicit"] = self.seen @ implicit
        if explicit is not None:
            self.settled["rated"], self.settled["seen"] = self.rated @ explicit, self.seen @ explicit

    def add(
        self, own: Tensor, other: Tensor, residual: Tensor, implicit: Tensor | None, explicit: Tensor | None
    ) -> None:
        """Add further ratings to settled sums, counts and totals; tables as in `settle`."""
        self.count.index_add_(0, own, torch.ones_like(residual))
        self.total.index_add_(0, own, residual)
        if implicit is not None:
            self.settled["implicit"].index_add_(0, own, implicit[other])
        if explicit is not None:
            rows = explicit[other]
            self.settled["rated"].index_add_(0, own, residual.unsqueeze(-1) * rows)
            self.settled["seen"].index_add_(0, own, rows)

    def _sums(self, kind: str, matrix: Tensor, transposed: Tensor, table: Tensor) -> Tensor:
        if kind in self.settled:
            return self.settled[kind]
        product: Tensor = _SparseProduct.apply(matrix, transposed, table)  # type: ignore[no-untyped-call]
        return product

    SHRINK = 5.0
    """Weight of the prior in the shrunk mean, as a number of ratings."""

    def counted(self, own: Tensor, left_out: LeftOut | None) -> tuple[Tensor, Tensor]:
        """Return history length and shrunk mean residual of rows, without what is left out, each [B]."""
        count, total = self.count[own], self.total[own]
        if left_out is not None:
            count, total = (count - left_out.count).clamp(min=0.0), total - left_out.total
        return count, total / (count + self.SHRINK)

    def statistics(self, own: Tensor, left_out: LeftOut | None) -> Tensor:
        """Return mean, length and their product, [B, 3]."""
        count, mean = self.counted(own, left_out)
        length = torch.log1p(count) / 5.0
        return torch.stack([mean, length, mean * length], dim=1)

    def implicit(self, table: Tensor, own: Tensor, left_out: LeftOut | None) -> Tensor:
        """Return scaled sums of the table rows of the history's entries, [B, d].

        Args:
            table: Rows of the other side, [num_other, d].
            own: This side's indices, [B].
            left_out: Entries to be left out of the histories.
        """
        sums = self._sums("implicit", self.seen, self.seen_t, table)[own]
        count = self.count[own]
        if left_out is not None:
            sums, count = sums - left_out.rows(table), count - left_out.count
        scaled: Tensor = sums * torch.rsqrt(count.clamp(min=0.0) + 1.0).unsqueeze(-1)
        return scaled

    def explicit(self, table: Tensor, own: Tensor, left_out: LeftOut | None) -> Tensor:
        """Return the sums of `implicit`, each row weighted by its rating's deviation from the own mean, [B, d]."""
        count, mean = self.counted(own, left_out)
        rated = self._sums("rated", self.rated, self.rated_t, table)[own]
        seen = self._sums("seen", self.seen, self.seen_t, table)[own]
        if left_out is not None:
            rated, seen = rated - left_out.rows(table, rated=True), seen - left_out.rows(table)
        sums: Tensor = rated - mean.unsqueeze(-1) * seen
        return sums * torch.rsqrt(count + 1.0).unsqueeze(-1)


class RatingHistory(nn.Module):
    """Histories of both sides over some interactions, with means of the training interactions."""

    def __init__(
        self, known: Interactions, num_users: int, num_items: int, trained: Interactions | None = None
    ) -> None:
        """Index the interactions.

        Args:
            known: Interactions in the histories.
            num_users: Rows of a user table.
            num_items: Rows of an item table.
            trained: Training interactions, which means and tables belong to; by default `known`.
        """
        super().__init__()
        base = known if trained is None else trained
        self.mean = float(base.label.mean())
        centred = base.label.astype(np.float64) - self.mean
        self.user_mean: Tensor
        self.item_mean: Tensor
        observed: dict[str, Tensor] = {}
        for name, index, rows in (("user", base.user, num_users), ("item", base.item, num_items)):
            count = np.bincount(index, minlength=rows)
            sums = np.bincount(index, centred, rows) / (count + SideHistory.SHRINK)
            self.register_buffer(f"{name}_mean", torch.from_numpy(sums).float(), persistent=False)
            observed[name] = torch.from_numpy(count > 0)
        user, item, label = (torch.from_numpy(values) for values in (known.user, known.item, known.label))
        of_user, of_item = self.residuals(user, item, label)
        self.users = SideHistory(user, item, of_user, num_users, num_items, observed["user"])
        self.items = SideHistory(item, user, of_item, num_items, num_users, observed["item"])

    def residuals(self, user: Tensor, item: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return residuals of examples, for the user's and for the item's history, each [B]."""
        centred = label - self.mean
        return centred - self.item_mean[item], centred - self.user_mean[user]


def _csr(rows: Tensor, columns: Tensor, values: Tensor, num_rows: int, num_columns: int) -> Tensor:
    """Make a sparse matrix in CSR layout, whose products are fast, without torch's notice that it is in beta."""
    index = torch.stack([rows, columns])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        coordinates = torch.sparse_coo_tensor(index, values, (num_rows, num_columns), check_invariants=False)
        return coordinates.coalesce().to_sparse_csr()
