"""RowPool: what was computed of texts, found again by their tokens, so that several tables of texts share it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from llmrec_peft.data.tokens import TokenTable


class RowPool:
    """Rows of one growing tensor; each text has some that follow each other, and equal texts have the same ones.

    A text is known by its token ids and its kind. Memory grows by doubling, so that what is read of it is looked up in
    `tensor` anew each time.
    """

    def __init__(self) -> None:
        self.tensor: Tensor | None = None
        """The rows, [at least `used`, width]; None before the first text."""
        self.used = 0
        """Rows that texts have."""
        self.answers_tuple = False
        """Of states: whether the layer below hands them on in a tuple, see `llmrec_peft.backbone.trunk`."""
        self._start: dict[bytes, int] = {}

    def starts(self, tokens: TokenTable) -> NDArray[np.int64]:
        """Return where the rows of each distinct text of a table start, int64 [distinct]; -1 for a text not known."""
        found = [self._start.get(key, -1) for key in _keys(tokens)]
        return np.array(found, np.int64)

    def reserved(self, rows: int, like: Tensor) -> Tensor:
        """Return the pool's tensor with room for more rows of a tensor's width, number format and device."""
        needed = self.used + rows
        held = self.tensor
        if held is None or len(held) < needed:
            grown = like.new_empty(max(needed, 2 * self.used if held is not None else 0), like.shape[-1])
            if held is not None:
                grown[: self.used] = held[: self.used]
            self.tensor = held = grown
        return held

    def keep(self, tokens: TokenTable, rows: NDArray[np.int64], starts: NDArray[np.int64], end: int) -> None:
        """Remember where texts lie, once their rows are written.

        Args:
            tokens: Table of the texts.
            rows: Row numbers of distinct texts, [n].
            starts: Where the rows of each start, int64 [n].
            end: Rows that are used now.
        """
        keys = _keys(tokens)
        for row, start in zip(rows.tolist(), starts.tolist(), strict=True):
            self._start[keys[row]] = start
        self.used = end

    def __len__(self) -> int:
        return len(self._start)


def _keys(tokens: TokenTable) -> list[bytes]:
    """Return what tells the distinct texts of a table apart from those of another table."""
    ids, kinds = tokens.ids, tokens.kind.tolist()
    bounds = itertools.pairwise(tokens.start.tolist())
    return [bytes([kind]) + ids[begin:end].tobytes() for kind, (begin, end) in zip(kinds, bounds, strict=True)]
