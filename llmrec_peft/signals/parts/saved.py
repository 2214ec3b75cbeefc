"""Saved tensors of a signal: indices that a stranger may have written are held against the tables they point into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_peft.errors import InputError
from llmrec_peft.known_contents import is_known

if TYPE_CHECKING:
    from torch import Tensor


def require_indices(index: Tensor, rows: int, table: int, name: str) -> None:
    """Refuse indices that point outside a table, or that are not one row for each user or item.

    Args:
        index: The indices, [rows, n].
        rows: Users or items of the run, the unknown one included.
        table: Rows of the table that they point into.
        name: The tensor's name, for the message.

    Raises:
        InputError: Naming the tensor and what is wrong with it.
    """
    import torch

    if index.dtype != torch.int64 or index.ndim != 2 or len(index) != rows:  # noqa: PLR2004 - [rows, n]
        kind = str(index.dtype).removeprefix("torch.")
        raise InputError(f"tensor {name} is {kind} {list(index.shape)}, not int64 [{rows}, n]")
    if not is_known() and index.numel() and (int(index.min()) < 0 or int(index.max()) >= table):
        raise InputError(f"tensor {name} points to row {int(index.max())} of a table of {table}, or below 0")
