"""TokenTable: the token rows of all texts, each distinct text held once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TokenTable:
    """Ragged token rows of the distinct texts among m keys (items).

    Attributes:
        ids: Token ids of all distinct texts, one after the other, int64 [total].
        start: Where each distinct text starts in `ids`, with the end last, int64 [distinct + 1].
        row_of: Distinct text of each key, int64 [m].
        pad_id: Token id of padding.
    """

    ids: NDArray[np.int64]
    start: NDArray[np.int64]
    row_of: NDArray[np.int64]
    pad_id: int

    @classmethod
    def of(cls, texts: Sequence[str], tokenize: Callable[[list[str]], list[list[int]]], pad_id: int) -> TokenTable:
        """Tokenize texts, each distinct one once.

        Args:
            texts: Text of each key.
            tokenize: Token ids (special tokens included, truncated) of several texts.
            pad_id: Token id of padding.
        """
        distinct: dict[str, int] = {}
        row_of = np.fromiter((distinct.setdefault(text, len(distinct)) for text in texts), np.int64, len(texts))
        rows = tokenize(list(distinct)) if distinct else []
        start = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=start[1:])
        ids = np.fromiter((token for row in rows for token in row), np.int64, int(start[-1]))
        return cls(ids, start, row_of, pad_id)

    @property
    def num_distinct(self) -> int:
        """Number of distinct texts."""
        return len(self.start) - 1

    def lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of some distinct texts, [len(rows)]."""
        return self.start[rows + 1] - self.start[rows]

    def padded(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask of some distinct texts, padded on the right to the longest.

        Returns:
            Two int64 tensors [len(rows), longest].
        """
        import torch

        lengths = self.lengths(rows)
        width = int(lengths.max(initial=1))
        place = np.arange(width)[None, :]
        mask = place < lengths[:, None]
        at = np.where(mask, self.start[rows][:, None] + place, 0)
        ids = np.where(mask, self.ids[at], self.pad_id)
        return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))
