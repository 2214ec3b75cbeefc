"""VectorTable: vectors of many texts, each distinct one stored once; in a file of this process where they are many."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAPPED_BYTES = 256 << 20
"""Bytes from which vectors are stored in a mapped file, whose pages the system can write back when memory is short."""
DEVICE_BYTES = 2 << 30
"""Bytes of vectors that stay on a GPU; more of them lie in the main memory, and the rows asked for are copied over."""
PIECE_BYTES = 4 << 20
"""Bytes of the rows that are looked at together where a whole table is read."""
_BYTES = 4


def room(rows: int, width: int, folder: Path | None = None, device: torch.device | None = None) -> Tensor:
    """Return memory for vectors, float32 [rows, width], zero.

    Many vectors lie in a temporary file that has no name any more: nobody else can open it, and it is gone with the
    last tensor that uses it, also after a kill. Its blocks are reserved, so that a full disk is an answer here and not
    a signal later; then, and where no file can be made, the vectors lie in memory.

    Args:
        rows: Number of vectors.
        width: Their width.
        folder: Where the file is made if there are many; by default the system's folder for temporary files.
        device: Where few vectors lie; the CPU by default.
    """
    size = rows * width * _BYTES
    if device is not None and device.type != "cpu" and size <= DEVICE_BYTES:
        return torch.zeros(rows, width, device=device)
    if size >= MAPPED_BYTES:
        with contextlib.suppress(OSError):
            there = folder if folder is not None and folder.is_dir() else None
            return torch.frombuffer(_mapped(size, there), dtype=torch.float32).reshape(rows, width)
    return torch.zeros(rows, width)


def _mapped(size: int, folder: Path | None) -> mmap.mmap:
    """Map a new file without a name, all of whose blocks are reserved."""
    with tempfile.TemporaryFile(prefix="llmrec-vectors-", dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return mmap.mmap(file.fileno(), size)


class VectorTable:
    """Vectors by key: several keys with one text share its vector, and nothing is copied but the rows asked for.

    >>> import torch
    >>> table = VectorTable(torch.tensor([[1.0], [2.0]]), np.array([0, 1, 1]))
    >>> table[torch.tensor([2, 0])].tolist(), table.shape
    ([[2.0], [1.0]], (3, 1))
    """

    def __init__(self, stored: Tensor, row_of: NDArray[np.int64], folder: Path | None = None) -> None:
        """Combine vectors and keys.

        Args:
            stored: Vectors of distinct texts, float32 [stored, width].
            row_of: Row of each key, int64 [keys].
            folder: Where a part whose rows are not consecutive is stored, if it is large; see `room`.
        """
        self.stored = stored
        self.row_of = row_of
        self._folder = folder
        self._rows = torch.from_numpy(row_of).to(stored.device)

    def __len__(self) -> int:
        return len(self.row_of)

    @property
    def shape(self) -> tuple[int, int]:
        """Keys and width."""
        return len(self.row_of), int(self.stored.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the vectors lie."""
        return self.stored.device

    def __getitem__(self, keys: Tensor | slice) -> Tensor:
        """Return the vectors of keys.

        Args:
            keys: Key numbers, int64 of any shape; or consecutive keys.

        Returns:
            float32 [*keys, width], on the device of the keys.
        """
        if isinstance(keys, slice):
            begin, end, step = keys.indices(len(self))
            if step != 1:
                raise IndexError("keys of a slice are consecutive")
            return self.part(begin, end)
        return self.stored[self._rows[keys.to(self.device)]].to(keys.device)

    def part(self, begin: int, end: int) -> Tensor:
        """Return the vectors of consecutive keys, float32 [end - begin, width].

        They share this table's memory if no two of these keys have one text; else they are copied, mapped if they are
        many.
        """
        rows = self.row_of[begin:end]
        if not len(rows):
            return self.stored[:0]
        first = int(rows[0])
        if int(rows[-1]) == first + len(rows) - 1 and bool((np.diff(rows) == 1).all()):
            return self.stored[first : first + len(rows)]
        copied = room(len(rows), self.shape[1], self._folder, self.device)
        for some in pieces(len(rows), self.shape[1]):
            copied[some] = self.stored[torch.from_numpy(rows[some]).to(self.device)]
        return copied

    def not_finite(self) -> NDArray[np.int64]:
        """Return the keys whose vectors hold NaN or infinity, in order."""
        return np.flatnonzero(np.isin(self.row_of, rows_not_finite(self.stored)))


def rows_not_finite(vectors: Tensor) -> NDArray[np.int64]:
    """Return the rows of a matrix that hold NaN or infinity, in order; it is read a piece at a time."""
    found = [
        some.start + (~vectors[some].isfinite().all(dim=1)).nonzero().flatten().cpu().numpy()
        for some in pieces(len(vectors), vectors.shape[1])
    ]
    return np.concatenate(found).astype(np.int64) if found else np.empty(0, np.int64)


def pieces(rows: int, width: int) -> Iterator[slice]:
    """Divide the rows of a float32 matrix into slices of about `PIECE_BYTES`."""
    step = max(1, PIECE_BYTES // max(1, width * _BYTES))
    for at in range(0, rows, step):
        yield slice(at, min(rows, at + step))
