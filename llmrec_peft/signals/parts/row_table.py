"""RowTable: a table whose rows are read through it alone, so that a step can cost what the rows that it reads cost."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class RowTrainer(Protocol):
    """What trains a table by the rows that are read (`llmrec_peft.training.lazy_rows`)."""

    def read(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return up-to-date rows, float32 [n, d], which receive the gradient, and the place of each index in them.

        None for the place where all rows are returned.
        """


class RowTable(nn.Embedding):
    """An embedding table that may be trained row by row while it is large.

    During such a training `weight` holds rows that are behind; reading through `read` or a call brings them up to
    date. A signal that needs `weight` as a whole in a training step uses `nn.Embedding` instead.
    """

    def __init__(self, rows: int, dim: int) -> None:
        """Make a table of float32 [rows, dim]."""
        super().__init__(rows, dim)
        self.trainer: RowTrainer | None = None
        """What trains the rows; None outside of a training, and for tables that are trained as a whole."""

    def read(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return rows of the table, and where to find the indices among them.

        Args:
            index: Rows that are asked for, int64 of any shape.

        Returns:
            The weight itself and None; or, in a training by rows, those that are asked for, sorted, float32 [n, dim],
            and the place of each index in them, int64 of its shape.
        """
        if self.trainer is None or not self.training:
            return self.weight, None
        return self.trainer.read(index)

    def forward(self, index: Tensor) -> Tensor:
        """Return the rows of indices, float32 [..., dim]."""
        rows, place = self.read(index)
        return nn.functional.embedding(index if place is None else place, rows)

    def __deepcopy__(self, memo: dict[int, Any]) -> RowTable:
        """Copy the table without what trains it."""
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        kept = {name: value for name, value in self.__dict__.items() if name != "trainer"}
        copied.__dict__.update(copy.deepcopy(kept, memo), trainer=None)
        return copied


def distinct(index: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Return the distinct values of an index, sorted, int64 [n], and the place of each index among them.

    As `torch.unique`, which sorts; where many of the rows are asked for, marking them is several times as fast.

    Args:
        index: Row numbers, int64 of any shape.
        rows: Rows of the table.
    """
    if index.numel() * 16 < rows:
        found, place = torch.unique(index, return_inverse=True)
        return found, place
    asked = torch.zeros(rows, dtype=torch.bool, device=index.device)
    asked[index.reshape(-1)] = True
    found = asked.nonzero().squeeze(1)
    places = torch.empty(rows, dtype=torch.int64, device=index.device)
    places[found] = torch.arange(len(found), device=index.device)
    return found, places[index]
