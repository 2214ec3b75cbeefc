"""EncodedRows: vectors of token rows, each distinct row encoded once, however many calls ask for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from llmrec_peft.data.tokens import TokenTable

STORED_BYTES = 64 << 20
"""Bytes of vectors that stay: of MiniLM's (384 wide) 43,690, of those of a decoder 3,584 wide 4,681."""
_BYTES = 4


class EncodedRows:
    """Vectors of token rows of one encoder and reading; those stored first are dropped beyond `room` bytes.

    The pairs of a deletion test share items, and an explanation and its test ask for the same texts: without a store a
    third of the texts of 100 pairs of magazines were encoded again (6,879 in place of 4,665). One thread at a time:
    whoever has attached the encoder's adapter.
    """

    def __init__(self, room: int = STORED_BYTES) -> None:
        """Begin without vectors.

        Args:
            room: Bytes of vectors that stay between calls.
        """
        self._room = room
        self._stored: dict[bytes, Tensor] = {}

    def __len__(self) -> int:
        """Number of stored vectors."""
        return len(self._stored)

    def vectors(self, rows: Sequence[Sequence[int]], encode: Callable[[TokenTable], Tensor], pad_id: int) -> Tensor:
        """Return vectors of rows; those that are not stored are encoded together.

        Args:
            rows: Token ids of each text, [n].
            encode: Encodes distinct rows, float32 [rows, width]; always by the same encoder in the same way.
            pad_id: Token id of padding.

        Returns:
            float32 [n, width], without gradient.
        """
        names = [np.array(row, np.int32).tobytes() for row in rows]
        new = {name: row for name, row in zip(names, rows, strict=True) if name not in self._stored}
        if new:
            with torch.no_grad():
                encoded = encode(TokenTable.of_rows(list(new.values()), pad_id))
            self._stored |= {name: vector.clone() for name, vector in zip(new, encoded, strict=True)}
        found = torch.stack([self._stored[name] for name in names])
        self._drop(found.shape[1] * _BYTES)
        return found

    def _drop(self, size: int) -> None:
        """Drop the vectors that were stored first until the others, of `size` bytes each, have room."""
        for name in list(self._stored)[: max(0, len(self._stored) - self._room // size)]:
            del self._stored[name]
