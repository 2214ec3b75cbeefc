"""TokenTable: token rows of all texts, each distinct text stored once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TokenTable:
    """Ragged token rows of the distinct texts among m keys (items, then users and prompts if they are read).

    Attributes:
        ids: Token ids of all distinct texts, one after the other, int64 [total].
        start: Where each distinct text starts in `ids`, with the end last, int64 [distinct + 1].
        row_of: Distinct text of each key, int64 [m].
        pad_id: Token id of padding.
        kind: Kind of each distinct text (0 for items), which determines how it is pooled, int64 [distinct].
        variants: Distinct text of each key in further text variants, int64 [variants, m]; None without variants.
    """

    ids: NDArray[np.int64]
    start: NDArray[np.int64]
    row_of: NDArray[np.int64]
    pad_id: int
    kind: NDArray[np.int64]
    variants: NDArray[np.int64] | None = None

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
        return replace(cls.of_rows(tokenize(list(distinct)) if distinct else [], pad_id), row_of=row_of)

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[int]], pad_id: int) -> TokenTable:
        """Take texts that are tokenized already and differ from each other; each is a key.

        Args:
            rows: Token ids of each text.
            pad_id: Token id of padding.
        """
        start = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=start[1:])
        ids = np.fromiter((token for row in rows for token in row), np.int64, int(start[-1]))
        return cls(ids, start, np.arange(len(rows)), pad_id, np.zeros(len(rows), np.int64))

    @classmethod
    def joined(cls, tables: Sequence[TokenTable]) -> TokenTable:
        """Join several tables: keys and distinct texts of each follow those of the table before; kinds are 0, 1, ..."""
        texts = np.cumsum([0, *(table.num_distinct for table in tables)])
        tokens = np.cumsum([0, *(len(table.ids) for table in tables)])
        starts = [table.start[:-1] + at for table, at in zip(tables, tokens[:-1], strict=True)]
        return cls(
            np.concatenate([table.ids for table in tables]),
            np.concatenate([*starts, tokens[-1:]]).astype(np.int64),
            np.concatenate([table.row_of + at for table, at in zip(tables, texts[:-1], strict=True)]),
            tables[0].pad_id,
            np.repeat(np.arange(len(tables)), [table.num_distinct for table in tables]).astype(np.int64),
        )

    def with_variants(self, others: Sequence[TokenTable]) -> TokenTable:
        """Return this table with further text variants of its first keys, one variant per given table."""
        whole = self.joined([self, *others])
        at = self.num_distinct
        rows = []
        for other in others:
            row_of = self.row_of.copy()
            row_of[: len(other.row_of)] = other.row_of + at
            rows.append(row_of)
            at += other.num_distinct
        kind = np.concatenate([self.kind, np.zeros(at - self.num_distinct, np.int64)])
        return replace(whole, row_of=self.row_of, kind=kind, variants=np.stack(rows) if rows else None)

    @property
    def num_distinct(self) -> int:
        """Number of distinct texts."""
        return len(self.start) - 1

    def distinct_rows(self) -> list[list[int]]:
        """Return the token ids of each distinct text."""
        return [self.ids[start:end].tolist() for start, end in itertools.pairwise(self.start.tolist())]

    def lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the token counts of some distinct texts, [len(rows)]."""
        return self.start[rows + 1] - self.start[rows]

    def padded(self, rows: NDArray[np.int64], width: int | None = None) -> tuple[Tensor, Tensor]:
        """Return token ids and attention mask of some distinct texts, padded on the right.

        Args:
            rows: Row numbers of distinct texts.
            width: Tokens to which all are padded; those of the longest by default.

        Returns:
            Two int64 tensors [len(rows), width].
        """
        import torch

        lengths = self.lengths(rows)
        width = int(lengths.max(initial=1)) if width is None else width
        place = np.arange(width)[None, :]
        mask = place < lengths[:, None]
        at = np.where(mask, self.start[rows][:, None] + place, 0)
        ids = np.where(mask, self.ids[at], self.pad_id)
        return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))


def count_cut(
    texts: Sequence[str], table: TokenTable, length: int, tokenize: Callable[[list[str]], list[list[int]]]
) -> int:
    """Return how many texts are longer than the tokens that are kept of them.

    Only texts whose kept tokens reach the limit are tokenized again.

    Args:
        texts: Text of each key, in the order of `table`.
        table: Their token rows, cut to `length`.
        length: Tokens kept of a text.
        tokenize: Token ids (special tokens included, not truncated) of several texts.
    """
    full = np.flatnonzero(np.diff(table.start) >= length)
    if not len(full):
        return 0
    distinct = list(dict.fromkeys(texts))
    longer = np.zeros(table.num_distinct, bool)
    longer[full] = [len(row) > length for row in tokenize([distinct[at] for at in full.tolist()])]
    return int(longer[table.row_of].sum())
