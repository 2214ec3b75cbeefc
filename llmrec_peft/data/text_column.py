"""TextColumn: many texts as Arrow lays a column out, read where they lie; a text is made when it is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.errors import InputError

_FEW = 32
"""More ids than a column's length divided by this are looked up in a dictionary that is made for them."""
_BLOCK = 4096
"""Texts that are decoded together."""


class TextColumn(Sequence[str]):
    """A sequence of texts over two buffers, as Arrow's ``large_string``; it equals a tuple of the same texts.

    Nothing is copied: the buffers may be those of a mapped file.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, offsets: NDArray[np.int64], content: NDArray[np.uint8], order: NDArray[np.int32] | None = None
    ) -> None:
        """Set the buffers; `require_texts` says whether they are sound.

        Args:
            offsets: Text i has the bytes from offsets[i] to offsets[i + 1], int64 [n + 1].
            content: UTF-8 bytes of all texts.
            order: Rows in the order of their texts' bytes, int32 [n]; `rows_of` needs them.
        """
        self.offsets, self.content, self.order = offsets, content, order
        self._bounds, self._bytes = offsets.data, content.data

    @classmethod
    def of(cls, texts: Sequence[str], sort: bool = False) -> TextColumn:
        """Make a column of texts in memory, with the rows in their texts' order if `sort`.

        Raises:
            InputError: For a text that UTF-8 cannot write.
        """
        try:
            encoded = [text.encode() for text in texts]
        except UnicodeEncodeError as error:
            raise InputError(f"{error.object[:40]!a} is no text that UTF-8 can write") from None
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
        order = np.array(sorted(range(len(encoded)), key=encoded.__getitem__), np.int32) if sort else None
        return cls(offsets, np.frombuffer(b"".join(encoded), np.uint8), order)

    def __reduce__(self) -> tuple[Any, ...]:
        return TextColumn, (self.offsets, self.content, self.order)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[str, ...]: ...
    def __getitem__(self, at: int | slice) -> str | tuple[str, ...]:
        """Return a text, or a tuple of several."""
        if isinstance(at, slice):
            return tuple(self[row] for row in range(*at.indices(len(self))))
        row = at + len(self) if at < 0 else at
        if not 0 <= row < len(self):
            raise IndexError(at)
        return str(self.encoded(row), "utf-8")

    def __iter__(self) -> Iterator[str]:
        for begin in range(0, len(self), _BLOCK):
            bounds = self.offsets[begin : begin + _BLOCK + 1].tolist()
            whole = bytes(self._bytes[bounds[0] : bounds[-1]])
            for start, end in itertools.pairwise(bounds):
                yield whole[start - bounds[0] : end - bounds[0]].decode()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    def encoded(self, row: int) -> bytes:
        """Return the bytes of a text."""
        return bytes(self._bytes[self._bounds[row] : self._bounds[row + 1]])


class RowsByText(Mapping[str, int]):
    """Row of each text of a column, found by bisection of its sorted rows: no text is in memory."""

    def __init__(self, column: TextColumn) -> None:
        """Set the column, which has its rows in their texts' order."""
        if column.order is None:
            raise ValueError("the column was made without its order")
        self._column, self._order = column, column.order.data

    def __getitem__(self, text: str) -> int:
        row = self._found(text)
        if row is None:
            raise KeyError(text)
        return row

    def __contains__(self, text: object) -> bool:
        return self._found(text) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._column)

    def __len__(self) -> int:
        return len(self._column)

    def _found(self, text: object) -> int | None:
        if not isinstance(text, str):
            hash(text)  # as a dictionary, which refuses a list
            return None
        try:
            sought = text.encode()
        except UnicodeEncodeError:  # no file holds such a text
            return None
        order, encoded, low, high = self._order, self._column.encoded, 0, len(self._column)
        while low < high:
            middle = (low + high) // 2
            row: int = order[middle]
            found = encoded(row)
            if found == sought:
                return row
            if found < sought:
                low = middle + 1
            else:
                high = middle
        return None


def rows_by_text(texts: Sequence[str]) -> Mapping[str, int]:
    """Return the row of each text, as a mapping over the column where the texts are one with sorted rows."""
    if isinstance(texts, TextColumn) and texts.order is not None:
        return RowsByText(texts)
    return {text: row for row, text in enumerate(texts)}


def rows_of(index: Mapping[str, int], texts: Sequence[Any]) -> NDArray[np.int64]:
    """Return the rows of texts, -1 for unknown ones, int64 [len(texts)].

    Args:
        index: Result of `rows_by_text`.
        texts: What is looked up; many texts at once through a dictionary that lives as long as the call.

    Raises:
        TypeError: For a value that no dictionary looks up.
    """
    if isinstance(index, RowsByText) and len(texts) > max(1, len(index) // _FEW):
        index = {text: row for row, text in enumerate(index)}
    return np.fromiter((index.get(text, -1) for text in texts), np.int64, len(texts))


def require_texts(column: TextColumn, distinct: bool) -> str | None:
    """Say what is wrong with a column whose buffers a stranger may have written; None if nothing is.

    Args:
        column: The column; its arrays have the right types and one dimension.
        distinct: Whether texts have to be distinct and not empty, and the order to be that of their bytes.
    """
    offsets, content = column.offsets, column.content
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(content) or bool((np.diff(offsets) < 0).any()):
        return f"its offsets do not divide {len(content)} bytes among {max(0, len(offsets) - 1)} texts"
    within = offsets[(offsets > 0) & (offsets < len(content))]
    try:
        content.tobytes().decode()
        whole = bool(((content[within] & 0xC0) != 0x80).all())  # noqa: PLR2004 - no text begins within a character
    except UnicodeDecodeError:
        whole = False
    if not whole:
        return "a text is not UTF-8"
    return _order_is_wrong(column) if distinct else None


def _order_is_wrong(column: TextColumn) -> str | None:
    """Say whether rows in their texts' order are something else: strictly increasing texts are distinct, too."""
    order, count = column.order, len(column)
    if order is None or order.shape != (count,):
        return f"its order is not one row for each of {count} texts"
    if count and (int(order.min()) < 0 or int(order.max()) >= count or bool((np.bincount(order) != 1).any())):
        return "its order is no permutation of its rows"
    before = b""
    for row in order.tolist():
        text = column.encoded(row)
        if not text:
            return "an id is empty"
        if text <= before:
            return "an id stands twice" if text == before else "its order is not that of its ids"
        before = text
    return None
