"""Sums over rating histories: what a user has rated and who has rated an item, each target left out of its own."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmrec_peft.data.interactions import Interactions


class _SparseProduct(torch.autograd.Function):
    """A @ X for a constant sparse A whose transpose is at hand (autograd would build it every step)."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, table: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ table

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradient.contiguous()


class SideHistory(nn.Module):
    """Histories of one side (users over items, or items over users).

    With e the rating less what the other side's mean explains, e̅ the own shrunk mean of e and n the
    history's length, `sums` gives for each row of the side

        implicit  n^-1/2 Σ_j Y_j          explicit  n^-1/2 Σ_j (e_j - e̅) X_j

    and `statistics` gives (e̅, log(1 + n) / 5, e̅ · log(1 + n) / 5). Where an example is itself in the
    history (training), its own term is taken out of all of them, else the model would read the answer.

    References:
        Koren, Factorization Meets the Neighborhood, KDD 2008, sections 4 and 5 (SVD++, asymmetric SVD).
    """

    def __init__(self, own: Tensor, other: Tensor, residual: Tensor, num_own: int, num_other: int) -> None:
        """Build the sparse matrices.

        Args:
            own: This side's index of each training interaction, int64 [n].
            other: The other side's, int64 [n].
            residual: Rating less the other side's mean, float32 [n].
            num_own: Rows of this side.
            num_other: Rows of the other side.
        """
        super().__init__()
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

    def settle(self, implicit: Tensor | None, explicit: Tensor | None) -> None:
        """Compute the sums over these tables once: they no longer change, but `add` lets further ratings follow.

        Args:
            implicit: Table of `implicit`, [num_other, d]; None where there is none.
            explicit: Table of `explicit`, [num_other, d]; None where there is none.
        """
        self.settled = {}
        if implicit is not None:
            self.settled["implicit"] = self.seen @ implicit
        if explicit is not None:
            self.settled["rated"], self.settled["seen"] = self.rated @ explicit, self.seen @ explicit

    def add(
        self, own: Tensor, other: Tensor, residual: Tensor, implicit: Tensor | None, explicit: Tensor | None
    ) -> None:
        """Take further ratings into settled sums, counts and totals; tables as in `settle`."""
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
    """Ratings that the shrunk mean holds against the own ones."""

    def counted(self, own: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """History length and shrunk mean residual of rows, the example itself left out, each [B]."""
        count, total = self.count[own], self.total[own]
        if residual is not None:
            count, total = (count - 1.0).clamp(min=0.0), total - residual
        return count, total / (count + self.SHRINK)

    def statistics(self, own: Tensor, residual: Tensor | None) -> Tensor:
        """Mean, length and their product, [B, 3]."""
        count, mean = self.counted(own, residual)
        length = torch.log1p(count) / 5.0
        return torch.stack([mean, length, mean * length], dim=1)

    def implicit(self, table: Tensor, own: Tensor, other: Tensor | None) -> Tensor:
        """Scaled sums of the rows that the history names, [B, d].

        Args:
            table: Rows of the other side, [num_other, d].
            own: This side's indices, [B].
            other: The examples' other side where the examples are part of the history, else None.
        """
        sums = self._sums("implicit", self.seen, self.seen_t, table)[own]
        count = self.count[own]
        if other is not None:
            sums, count = sums - table[other], count - 1.0
        scaled: Tensor = sums * torch.rsqrt(count.clamp(min=0.0) + 1.0).unsqueeze(-1)
        return scaled

    def explicit(self, table: Tensor, own: Tensor, other: Tensor | None, residual: Tensor | None) -> Tensor:
        """As `implicit`, each row weighted by how far its rating stands from the own mean, [B, d]."""
        count, mean = self.counted(own, residual)
        rated = self._sums("rated", self.rated, self.rated_t, table)[own]
        seen = self._sums("seen", self.seen, self.seen_t, table)[own]
        if other is not None and residual is not None:
            row = table[other]
            rated, seen = rated - residual.unsqueeze(-1) * row, seen - row
        sums: Tensor = rated - mean.unsqueeze(-1) * seen
        return sums * torch.rsqrt(count + 1.0).unsqueeze(-1)


class RatingHistory(nn.Module):
    """Both sides' histories of the training interactions."""

    def __init__(self, train: Interactions, num_users: int, num_items: int) -> None:
        """Index the interactions.

        Args:
            train: What is trained on.
            num_users: Rows of a user table.
            num_items: Rows of an item table.
        """
        super().__init__()
        self.mean = float(train.label.mean())
        centred = train.label.astype(np.float64) - self.mean
        self.user_mean: Tensor
        self.item_mean: Tensor
        for name, index, rows in (("user_mean", train.user, num_users), ("item_mean", train.item, num_items)):
            sums = np.bincount(index, centred, rows) / (np.bincount(index, minlength=rows) + SideHistory.SHRINK)
            self.register_buffer(name, torch.from_numpy(sums).float(), persistent=False)
        user, item = torch.from_numpy(train.user), torch.from_numpy(train.item)
        label = torch.from_numpy(train.label)
        self.users = SideHistory(user, item, label - self.mean - self.item_mean[item], num_users, num_items)
        self.items = SideHistory(item, user, label - self.mean - self.user_mean[user], num_items, num_users)

    def residuals(self, user: Tensor, item: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals of examples as seen from the user's and from the item's history, each [B]."""
        centred = label - self.mean
        return centred - self.item_mean[item], centred - self.user_mean[user]


def _csr(rows: Tensor, columns: Tensor, values: Tensor, num_rows: int, num_columns: int) -> Tensor:
    """A sparse matrix whose products are fast; torch's notice that the layout is in beta is kept quiet."""
    index = torch.stack([rows, columns])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        coordinates = torch.sparse_coo_tensor(index, values, (num_rows, num_columns), check_invariants=False)
        return coordinates.coalesce().to_sparse_csr()
