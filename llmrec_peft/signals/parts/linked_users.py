"""LinkedUsers: the neighbours of each user and what they interacted with, of which a step sums those it asks for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.links import Links
from llmrec_peft.signals.parts.history_entries import Chosen, HistoryEntries
from llmrec_peft.signals.parts.row_table import RowTable, distinct

SHRINK = 5.0
"""Ratings of zero that are added to a mean of residuals."""


class LinkedUsers(nn.Module):
    """Sums over users' neighbours, and constant statistics of them.

    Attributes:
        statistics: Of each user's neighbours the mean residual, and its mean times log(1 + interactions) / 5,
            float32 [num_users, 2]; zero without neighbours.
        linked: Number of users with neighbours.
    """

    def __init__(
        self,
        links: Links,
        train: Interactions,
        num_users: int,
        num_items: int,
        most_neighbours: int,
        longest_history: int,
    ) -> None:
        """Sort the links by user.

        Args:
            links: From each user to his neighbours.
            train: Training interactions.
            num_users: Rows of a user table.
            num_items: Rows of an item table.
            most_neighbours: Neighbours of a user that are summed, at most.
            longest_history: Interactions of a neighbour that are summed, at most, the newest.
        """
        super().__init__()
        ones, never = np.ones(len(links), np.float32), np.zeros(len(links), np.int64)
        shape = (num_users, num_users)
        self._links = HistoryEntries(links.user, links.other, ones, never, shape, most_neighbours)
        unit = np.ones(len(train), np.float32)
        of_users = (train.user, train.item, unit, train.timestamp, (num_users, num_items))
        self._history = HistoryEntries(*of_users, longest_history)
        self.linked = int((self._links.kept > 0).sum())
        self.statistics: Tensor
        self._scale: Tensor
        self._of_history: Tensor
        statistics = self._means(residuals(train, num_users, num_items), train.counts_by_user(num_users))
        for name, values in (
            ("statistics", statistics),
            ("_scale", (self._links.kept + 1.0) ** -0.5),
            ("_of_history", (self._history.kept + 1.0) ** -0.5),
        ):
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)), persistent=False)

    def vectors(self, users: Tensor, people: RowTable | None, items: RowTable | None) -> Tensor:
        """Return (n + 1)^-½ Σ_v (W_v + (m_v + 1)^-½ Σ_j Y_j) over the neighbours of users, float32 [B, d].

        Args:
            users: User indices, int64 [B].
            people: W; None for none.
            items: Y; None for none.
        """
        chosen, place = self._links.choose(users)
        sums = [] if people is None else chosen.sums(people, "seen")
        if items is not None:
            sums.append(self._through_items(chosen, items))
        whole = torch.stack(sums).sum(0) if len(sums) > 1 else sums[0]
        return whole[place] * self._scale[users].unsqueeze(-1)

    def _through_items(self, chosen: Chosen, items: RowTable) -> Tensor:
        """Return the sums over neighbours of what these interacted with, [rows, d]."""
        columns = torch.from_numpy(chosen.columns).to(items.weight.device)
        neighbours, place = distinct(columns, len(self._scale))
        if not len(neighbours):  # nobody who is asked for has any
            return chosen.of_tensor(items.weight.new_zeros(len(self._scale), items.embedding_dim), "seen")
        histories, at = self._history.choose(neighbours)
        (told,) = histories.sums(items, "seen")
        return chosen.of_rows(told[at] * self._of_history[neighbours].unsqueeze(-1), place)

    def _means(self, residual: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return means over each user's neighbours of their residual, plain and by how much they interacted."""
        values = np.stack([residual, residual * np.log1p(counts) / 5.0], axis=1)
        sums = self._links.whole().of_tensor(torch.from_numpy(values).float(), "seen").double().numpy()
        means: NDArray[np.float64] = sums / np.maximum(self._links.kept, 1)[:, None]
        return means


def residuals(train: Interactions, num_users: int, num_items: int) -> NDArray[np.float64]:
    """Return each user's mean label less the mean and less the items' means, shrunk by 5 ratings, float64 [users]."""
    centred = train.label.astype(np.float64) - (float(train.label.mean()) if len(train) else 0.0)
    of_item = np.bincount(train.item, centred, num_items) / (train.counts_by_item(num_items) + SHRINK)
    rest = np.bincount(train.user, centred - of_item[train.item], num_users)
    found: NDArray[np.float64] = rest / (train.counts_by_user(num_users) + SHRINK)
    return found
