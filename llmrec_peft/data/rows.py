"""Rows: the rows of a table as mappings, made when they are asked for, and its columns as lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

BLOCK = 1 << 13
"""Rows that are made together while all are walked through."""


class Rows(Sequence[Mapping[str, Any]]):
    """Rows of an Arrow table behind an empty one: row 0 is that of the unknown user or item.

    A walk over all rows makes them by blocks and keeps none: a million rows as dictionaries take a gigabyte. The first
    row that is asked for by its number makes all of them, since whoever asks so, asks for many.

    >>> from llmrec_peft.data.tables import table
    >>> rows = Rows(table({"item_id": ["7", "8"], "title": ["Heat", None]}))
    >>> len(rows), rows[0], rows[2]
    (3, {}, {'item_id': '8', 'title': None})
    """

    def __init__(self, table: Dataset) -> None:
        """Keep a table; nothing is read yet."""
        from llmrec_peft.data.dataset import arrow

        self._table: pa.Table = arrow(table)
        self._made: list[Mapping[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self._table) + 1

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self._made) if self._made is not None else self._walk()

    def _walk(self) -> Iterator[Mapping[str, Any]]:
        yield {}
        yield from self.known()

    def known(self) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of the table alone."""
        for at in range(0, len(self._table), BLOCK):
            columns = self._table.slice(at, BLOCK).to_pydict()
            for values in zip(*columns.values(), strict=True):
                yield dict(zip(columns, values, strict=True))

    @overload
    def __getitem__(self, at: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Mapping[str, Any]]: ...
    def __getitem__(self, at: int | slice) -> Mapping[str, Any] | Sequence[Mapping[str, Any]]:
        if self._made is None:
            self._made = list(self._walk())
        return self._made[at]


class Columns(Mapping[str, list[Any]]):
    """Columns of an Arrow table as lists, each made when it is first asked for.

    >>> from llmrec_peft.data.tables import table
    >>> columns = Columns(table({"item_id": ["7", "8"], "title": ["Heat", None]}))
    >>> list(columns), columns["title"]
    (['item_id', 'title'], ['Heat', None])
    """

    def __init__(self, table: Dataset) -> None:
        """Keep a table; nothing is read yet."""
        from llmrec_peft.data.dataset import arrow

        self._table: pa.Table = arrow(table)
        self._made: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return int(self._table.num_columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.column_names)

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._made:
            if name not in self._table.column_names:
                raise KeyError(name)
            self._made[name] = self._table.column(name).to_pylist()
        return self._made[name]
