"""Rows on their way into Arrow, one by one; those that are bad are left out, as many as are allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from llmrec_peft.tabular.cells import Cell, column_of, joined
from llmrec_peft.tabular.table_read import BadRow, BadRows, TableRead
from llmrec_peft.tabular.typed import converted, reason, wrong_rows

_ROWS = 50_000
"""Rows that become Arrow at once."""
_CHARACTERS = 1 << 25
"""Characters that become Arrow at once."""


class RowTable:
    """Gathers the rows of one file."""

    def __init__(
        self, path: Path, names: Sequence[str], types: Mapping[str, pa.DataType], decimal: str, skip_bad: int
    ) -> None:
        """Begin without rows.

        Args:
            path: The file.
            names: Its columns.
            types: Types of columns that are not kept as texts.
            decimal: What separates decimals.
            skip_bad: Bad rows that may be left out.
        """
        self._path = path
        self._names = names
        self._kinds = [types.get(name) for name in names]
        self._decimal = decimal
        self._allowed = BadRows(skip_bad)
        self._parts: list[list[pa.Array]] = [[] for _ in names]
        self._lines: list[int] = []
        self._rows: list[Sequence[Cell]] = []
        self._bad: list[BadRow] = []
        self._size = 0

    def add(self, line: int, cells: Sequence[Cell], size: int) -> None:
        """Add a row.

        Args:
            line: Where it begins in the file.
            cells: A cell for each column.
            size: About how many characters they have.

        Raises:
            InputError: As `flush`.
        """
        self._lines.append(line)
        self._rows.append(cells)
        self._size += size
        if len(self._rows) >= _ROWS or self._size >= _CHARACTERS:
            self.flush()

    def add_batches(self, batches: Sequence[Sequence[pa.Array]]) -> None:
        """Add rows that are Arrow already, each column of its type.

        Raises:
            InputError: As `flush`.
        """
        self.flush()
        for batch in batches:
            for parts, column in zip(self._parts, batch, strict=True):
                parts.append(column)

    def add_bad(self, line: int, why: str) -> None:
        """Take note of a row that cannot be read.

        Raises:
            InputError: As `flush`.
        """
        self._bad.append(BadRow(self._path, line, None, why))
        if len(self._bad) >= _ROWS or len(self._bad) > self._allowed.left:
            self.flush()

    def flush(self) -> None:
        """Turn the rows at hand into Arrow.

        Raises:
            InputError: Naming the first bad row, in the order of the file, that is one too many.
        """
        columns: list[pa.Array] = []
        wrong: dict[int, BadRow] = {}
        cells_of_columns = zip(*self._rows, strict=True) if self._rows else ()
        for name, cells, kind in zip(self._names, cells_of_columns, self._kinds, strict=False):
            column, found = (column_of(cells), []) if kind is None else self._checked(cells, kind)
            columns.append(column)
            for row, why in found:
                wrong.setdefault(row, BadRow(self._path, self._lines[row], name, why))
        self._allowed.add(sorted([*self._bad, *wrong.values()], key=lambda bad: bad.line))
        if wrong:
            kept = pa.array([row for row in range(len(self._rows)) if row not in wrong], pa.int64())
            columns = [column.take(kept) for column in columns]
        for parts, column, kind in zip(self._parts, columns, self._kinds, strict=False):
            parts.append(column if kind is None else converted(column, kind, self._decimal))
        self._lines, self._rows, self._bad, self._size = [], [], [], 0

    def result(self) -> TableRead:
        """Return what was read.

        Raises:
            InputError: As `flush`.
        """
        self.flush()
        columns = [
            joined(parts) if kind is None else pa.chunked_array(parts, kind)
            for parts, kind in zip(self._parts, self._kinds, strict=True)
        ]
        table = pa.Table.from_arrays(columns, names=list(self._names)).unify_dictionaries()
        return TableRead(table, tuple(self._allowed.rows))

    def _checked(self, cells: Sequence[Cell], kind: pa.DataType) -> tuple[pa.Array, list[tuple[int, str]]]:
        """Return cells as texts, and the rows whose cell is not of a type, and why; no more than decide."""
        most = self._allowed.left + 1
        lists = [row for row, cell in enumerate(cells) if isinstance(cell, list)]
        texts = pa.array([None if isinstance(cell, list) else cell for cell in cells], pa.string())
        rows = wrong_rows(texts, kind, self._decimal, most)
        found = [(row, reason(texts[row].as_py(), kind, self._decimal)) for row in rows]
        return texts, found + [(row, f"a list, where {kind!s:.40} is expected") for row in lists[:most]]
