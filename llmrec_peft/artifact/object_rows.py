"""Rows of the owner's columns: JSON objects that are checked once and parsed when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, overload

from llmrec_peft.errors import InputError
from llmrec_peft.strict_json import parse_json

OBJECT_CHARACTERS = 1 << 20
"""Characters of one row's columns."""
Row = Mapping[str, Any]


class ObjectRows(Sequence[Row]):
    """Rows over the texts of their JSON objects, which `require_objects` has checked; none of them is stored.

    >>> ObjectRows(['{"title": "Heat"}'], nobody=True)[1]
    {'title': 'Heat'}
    """

    def __init__(self, texts: Sequence[str], nobody: bool = False) -> None:
        """Set the texts.

        Args:
            texts: JSON objects.
            nobody: Whether a row without columns, that of index 0, stands before them.
        """
        self._texts, self._before = texts, int(nobody)

    def __len__(self) -> int:
        return self._before + len(self._texts)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, at: int | slice) -> Row | tuple[Row, ...]:
        """Return a row, or a tuple of several."""
        if isinstance(at, slice):
            return tuple(self[row] for row in range(*at.indices(len(self))))
        row = at + len(self) if at < 0 else at
        if not 0 <= row < len(self):
            raise IndexError(at)
        if row < self._before:
            return {}
        values: dict[str, Any] = json.loads(self._texts[row - self._before])
        return values


def as_texts(rows: Iterable[Row]) -> list[str]:
    """Return rows as JSON objects."""
    return [json.dumps(row, ensure_ascii=False, default=str) for row in rows]


def require_objects(texts: Iterable[str], wrong: Callable[[str], InputError]) -> None:
    """Refuse texts that are no JSON objects of bounded size.

    Args:
        texts: The texts.
        wrong: Makes the error of a reason.

    Raises:
        InputError: As `wrong` makes it.
    """
    for text in texts:
        if len(text) > OBJECT_CHARACTERS:
            raise wrong(f"columns: a row has {len(text):,} characters")
        try:
            values = parse_json(text.encode(), "the row", infinite=True)
        except InputError as error:
            raise wrong(f"a row of columns is no JSON object ({str(error).partition(': ')[2]})") from None
        if not isinstance(values, dict):
            raise wrong("a row of columns is no JSON object")
