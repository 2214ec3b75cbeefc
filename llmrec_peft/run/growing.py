"""Growing: lists and vectors of a catalogue that share their memory with the larger catalogues made of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

import torch
from torch import Tensor

from llmrec_peft.backbone.vector_table import room

T = TypeVar("T")
_SPARE = 8
"""A buffer of n rows that is full is replaced by one of n + n / 8: few rows are wasted, and all copies together take as
long as a constant number of them."""
_LEAST = 64
"""Rows for which a new buffer has room, at least."""


class Prefix(Sequence[T], Generic[T]):
    """The first values of a list to which others may be appended later; it equals a tuple of the same values."""

    def __init__(self, values: list[T], count: int) -> None:
        """Show `count` values of a list, which only ever grows."""
        self._values = values
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[T, ...]: ...
    def __getitem__(self, at: int | slice) -> T | tuple[T, ...]:
        """Return a value, or a tuple of several."""
        if isinstance(at, slice):
            return tuple(self._values[row] for row in range(*at.indices(self._count)))
        if not -self._count <= at < self._count:
            raise IndexError(at)
        return self._values[at % self._count]

    def __iter__(self) -> Iterator[T]:
        values = self._values
        return (values[row] for row in range(self._count))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class RowsBefore(Mapping[str, int]):
    """Rows by id, those of ids that were added later left out."""

    def __init__(self, row_of: dict[str, int], count: int) -> None:
        """Show the rows below `count` of a mapping, which only ever grows."""
        self._row_of = row_of
        self._count = count

    def __getitem__(self, item: str) -> int:
        row = self._row_of[item]
        if row >= self._count:
            raise KeyError(item)
        return row

    def __contains__(self, item: object) -> bool:
        row = self._row_of.get(item)  # type: ignore[call-overload]
        return row is not None and row < self._count

    def __iter__(self) -> Iterator[str]:
        return (item for item, row in list(self._row_of.items()) if row < self._count)

    def __len__(self) -> int:
        return self._count


class Growth:
    """What a catalogue and those that were made of it share: a list of each kind, in which each sees its own rows.

    Only the newest catalogue grows in place; another one that is given items begins with a copy. So a catalogue never
    changes, and adding n items takes a time in proportion to n, whatever is there already.
    """

    def __init__(self, ids: Sequence[str], titles: Sequence[str], added: Sequence[Mapping[str, Any]]) -> None:
        """Copy what a catalogue has."""
        self.ids, self.titles, self.added = list(ids), list(titles), list(added)
        self.row_of = {item: row for row, item in enumerate(self.ids)}
        self._buffer: Tensor | None = None
        self._lock = threading.Lock()

    def extended(
        self, count: int, ids: Sequence[str], titles: Sequence[str], added: Sequence[Mapping[str, Any]]
    ) -> bool:
        """Append items, and return True; False if others were appended behind the first `count` already."""
        with self._lock:
            if len(self.ids) != count:
                return False
            self.row_of.update((item, row) for row, item in enumerate(ids, start=count))
            self.titles.extend(titles)
            self.added.extend(added)
            self.ids.extend(ids)
            return True

    def joined(self, before: Tensor, more: Tensor) -> Tensor:
        """Return vectors followed by more of them, float32 [n + m, width]; called once for each extension.

        Args:
            before: What this returned last, or the first vectors, [n, width].
            more: Vectors of the items that were appended, [m, width].
        """
        count = len(before) + len(more)
        buffer = self._buffer
        if buffer is None or len(buffer) < count or before.data_ptr() != buffer.data_ptr():
            buffer = room(max(count + count // _SPARE, count + _LEAST), before.shape[1], device=before.device)
            buffer = buffer if buffer.device == before.device else buffer.to(before.device)
            buffer[: len(before)] = before
            self._buffer = buffer
        with torch.no_grad():
            buffer[len(before) : count] = more
        return buffer[:count]
