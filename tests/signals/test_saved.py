"""Saved indices: one row for each user or item, and inside the table that they point into."""

from __future__ import annotations

import pytest
import torch

from llmrec_peft.errors import InputError
from llmrec_peft.signals.parts.saved import require_indices


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (torch.zeros(4, 2), r"tensor x is float32 \[4, 2\], not int64 \[4, n\]"),
        (torch.zeros(4, 2, dtype=torch.int32), "tensor x is int32"),
        (torch.zeros(3, 2, dtype=torch.int64), r"tensor x is int64 \[3, 2\]"),
        (torch.zeros(4, dtype=torch.int64), r"tensor x is int64 \[4\]"),
        (torch.tensor([[0], [1], [2], [7]]), "tensor x points to row 7 of a table of 7"),
        (torch.tensor([[0], [-1], [2], [6]]), "or below 0"),
    ],
)
def test_indices_outside_are_refused(index: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        require_indices(index, 4, 7, "x")


@pytest.mark.parametrize("width", [0, 3])
def test_indices_inside_are_taken(width: int) -> None:
    require_indices(torch.full((4, width), 6), 4, 7, "x")
