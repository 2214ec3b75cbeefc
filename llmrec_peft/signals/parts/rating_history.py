"""Sums over rating histories: the items that a user rated and the users who rated an item, without the target."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.signals.parts.history_entries import Chosen, HistoryEntries
from llmrec_peft.signals.parts.row_table import RowTable


@dataclass(frozen=True)
class LeftOut:
    """Entries to be left out of rows' histories: a row's own example in training, or the entries being explained.

    Attributes:
        other: Index of each entry on the other side, int64 [B, K].
        residual: Its residual, float32 [B, K].
        there: 1 where there is an entry, float32 [B, K].
        summed: 1 where it is among the summed ones, which long histories limit, float32 [B, K]; None where all are.
    """

    other: Tensor
    residual: Tensor
    there: Tensor
    summed: Tensor | None = None

    @classmethod
    def one(cls, other: Tensor, residual: Tensor) -> LeftOut:
        """Make one entry per row from [B] each."""
        return cls(other[:, None], residual[:, None], torch.ones_like(residual)[:, None])

    @property
    def count(self) -> Tensor:
        """How many entries a row, [B]."""
        return self.there.sum(1)

    @property
    def length(self) -> Tensor:
        """How many of them are summed, [B]."""
        length: Tensor = self._inside.sum(1)
        return length

    @property
    def _inside(self) -> Tensor:
        return self.there if self.summed is None else self.there * self.summed

    @property
    def total(self) -> Tensor:
        """Sum of their residuals, [B]."""
        return (self.there * self.residual).sum(1)

    def rows(self, table: RowTable, rated: bool = False) -> Tensor:
        """Return the sum of the table rows of the entries, each times its residual if `rated`, [B, d]."""
        weight = self._inside * self.residual if rated else self._inside
        sums: Tensor = (weight.unsqueeze(-1) * table(self.other)).sum(1)
        return sums


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

    def __init__(self, entries: HistoryEntries, own: Tensor, residual: Tensor, trained: Tensor) -> None:
        """Count the interactions.

        Args:
            entries: Entries of the histories.
            own: This side's index of each interaction, int64 [n].
            residual: Rating less the other side's mean, float32 [n].
            trained: Which rows of this side tables and biases were trained for, bool [num_own].
        """
        super().__init__()
        self.entries = entries
        self.trained: Tensor
        self.count: Tensor
        self.total: Tensor
        self.length: Tensor
        rows = len(trained)
        self.register_buffer("trained", trained, persistent=False)
        self.register_buffer("count", torch.bincount(own, minlength=rows).float(), persistent=False)
        self.register_buffer("total", torch.zeros(rows).index_add_(0, own, residual), persistent=False)
        self.register_buffer("length", torch.from_numpy(entries.kept).float(), persistent=False)
        self.settled: dict[str, Tensor] = {}

    def settle(self, implicit: Tensor | None, explicit: Tensor | None) -> None:
        """Compute the sums over these tables once, since they no longer change; `add` includes further ratings.

        Args:
            implicit: Table of `implicit`, [num_other, d]; None if there is none.
            explicit: Table of `explicit`, [num_other, d]; None if there is none.
        """
        self.settled, whole = {}, self.entries.whole()
        if implicit is not None:
            self.settled["implicit"] = whole.of_tensor(implicit, "seen")
        if explicit is not None:
            self.settled["rated"] = whole.of_tensor(explicit, "rated")
            self.settled["seen"] = whole.of_tensor(explicit, "seen")

    def add(
        self, own: Tensor, other: Tensor, residual: Tensor, implicit: Tensor | None, explicit: Tensor | None
    ) -> None:
        """Add further ratings to settled sums, counts and totals; tables as in `settle`."""
        self.count.index_add_(0, own, torch.ones_like(residual))
        self.total.index_add_(0, own, residual)
        self.length.index_add_(0, own, torch.ones_like(residual))
        if implicit is not None:
            self.settled["implicit"].index_add_(0, own, implicit[other])
        if explicit is not None:
            rows = explicit[other]
            self.settled["rated"].index_add_(0, own, residual.unsqueeze(-1) * rows)
            self.settled["seen"].index_add_(0, own, rows)

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

    def among(self, own: Tensor, left_out: LeftOut | None) -> LeftOut | None:
        """Note which of the entries that are left out are among those that are summed.

        Args:
            own: This side's indices, [B].
            left_out: Entries to be left out.
        """
        return None if left_out is None else replace(left_out, summed=self.entries.contains(own, left_out.other))

    def choose(self, own: Tensor) -> tuple[Chosen, Tensor] | None:
        """Return the rows that a batch asks for and each example's place among them; None where sums are settled."""
        return None if self.settled else self.entries.choose(own)

    def implicit(
        self, table: RowTable, own: Tensor, left_out: LeftOut | None, chosen: tuple[Chosen, Tensor] | None = None
    ) -> Tensor:
        """Return scaled sums of the table rows of the history's entries, [B, d].

        Args:
            table: Rows of the other side, [num_other, d].
            own: This side's indices, [B].
            left_out: Entries to be left out of the histories.
            chosen: Result of `choose` for these indices, where several sums share it.
        """
        if self.settled:
            sums = self.settled["implicit"][own]
        else:
            rows, place = chosen or self.entries.choose(own)
            sums = rows.sums(table, "seen")[0][place]
        count = self.length[own]
        if left_out is not None:
            sums, count = sums - left_out.rows(table), count - left_out.length
        scaled: Tensor = sums * torch.rsqrt(count.clamp(min=0.0) + 1.0).unsqueeze(-1)
        return scaled

    def explicit(
        self, table: RowTable, own: Tensor, left_out: LeftOut | None, chosen: tuple[Chosen, Tensor] | None = None
    ) -> Tensor:
        """Return the sums of `implicit`, each row weighted by its rating's deviation from the own mean, [B, d]."""
        mean, count = self.counted(own, left_out)[1], self.length[own]
        if self.settled:
            rated, seen = self.settled["rated"][own], self.settled["seen"][own]
        else:
            rows, place = chosen or self.entries.choose(own)
            rated, seen = (sums[place] for sums in rows.sums(table, "rated", "seen"))
        if left_out is not None:
            rated, seen = rated - left_out.rows(table, rated=True), seen - left_out.rows(table)
            count = (count - left_out.length).clamp(min=0.0)
        sums: Tensor = rated - mean.unsqueeze(-1) * seen
        return sums * torch.rsqrt(count + 1.0).unsqueeze(-1)


class RatingHistory(nn.Module):
    """Histories of both sides over some interactions, with means of the training interactions."""

    def __init__(
        self,
        known: Interactions,
        num_users: int,
        num_items: int,
        trained: Interactions | None = None,
        longest: int | None = None,
    ) -> None:
        """Index the interactions.

        Args:
            known: Interactions in the histories.
            num_users: Rows of a user table.
            num_items: Rows of an item table.
            trained: Training interactions, which means and tables belong to; by default `known`.
            longest: Entries of a history that are summed, the newest; None for all. Counts and means are over all.
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
        for side, own, other, residual in (("user", user, item, of_user), ("item", item, user, of_item)):
            shape = (num_users, num_items) if side == "user" else (num_items, num_users)
            values = (own.numpy(), other.numpy(), residual.numpy(), known.timestamp)
            entries = HistoryEntries(*values, shape, longest)
            self.add_module(f"{side}s", SideHistory(entries, own, residual, observed[side]))
        self.users: SideHistory
        self.items: SideHistory

    def residuals(self, user: Tensor, item: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return residuals of examples, for the user's and for the item's history, each [B]."""
        centred = label - self.mean
        return centred - self.item_mean[item], centred - self.user_mean[user]
