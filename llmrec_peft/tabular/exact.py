"""Delimited files: the exact way, row by row, which knows what is wrong with a row and may leave it out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import quoted, shown
from llmrec_peft.tabular.delimited import Columns
from llmrec_peft.tabular.form import SPACES, FileForm
from llmrec_peft.tabular.lines import Line, numbered_lines
from llmrec_peft.tabular.records import Record, records
from llmrec_peft.tabular.table_read import BadRow, BadRows, TableRead
from llmrec_peft.tabular.typed import converted, reason, wrong_rows
from llmrec_peft.tabular.unpacked import DamagedFileError, opened

_ROWS = 50_000
"""Rows that become Arrow at once."""
_CHARACTERS = 1 << 25
"""Characters that become Arrow at once."""


def read_exactly(
    path: Path, form: FileForm, columns: Columns, types: Mapping[str, pa.DataType], skip_bad: int
) -> TableRead:
    """Read a delimited file row by row.

    Args:
        path: The file.
        form: Its form.
        columns: Its columns.
        types: Types of columns that are not read as texts.
        skip_bad: Bad rows that may be left out.

    Raises:
        InputError: Naming the line, and the column where it is one, of the first row that is bad beyond those allowed;
            or the line after which the file is damaged.
    """
    exact = _Exact(path, form, columns, types, skip_bad)
    last = 0

    def counted(lines: Iterator[Line]) -> Iterator[Line]:
        nonlocal last
        for line in lines:
            last = line.number
            yield line

    try:
        with opened(path, form.compression) as unpacked:
            lines = counted(numbered_lines(unpacked, form.encoding))
            exact.read(records(lines, form, len(columns.names)))
    except DamagedFileError as error:
        raise InputError(f"{shown(path)}: {error}, after line {last}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{shown(path)}: not {form.encoding} ({reason_of(error)}), after line {last}") from None
    return exact.result()


class _Exact:
    """The rows of one file, on their way into Arrow."""

    def __init__(
        self, path: Path, form: FileForm, columns: Columns, types: Mapping[str, pa.DataType], skip_bad: int
    ) -> None:
        self._path = path
        self._form = form
        self._names = columns.names
        self._header = None if columns.header is None else list(columns.header)
        self._kinds = [types.get(name, pa.string()) for name in columns.names]
        self._bad = BadRows(skip_bad)
        self._batches: list[list[pa.Array]] = []

    def read(self, found: Iterator[Record]) -> None:
        """Read all rows.

        Raises:
            InputError: At the first bad row that is not allowed.
        """
        if self._header is not None:
            next(found, None)  # was looked at before
        rows: list[Record] = []
        size = 0
        for row in found:
            if row.flaw is None and self._is_right(row):
                rows.append(row)
                size += sum(map(len, row.cells))
                if len(rows) < _ROWS and size < _CHARACTERS:
                    continue
                self._convert(rows, None)
            elif row.flaw is None and self._is_blank(row):
                continue
            else:
                self._convert(rows, row)  # bad rows are counted in the order of the file
            rows, size = [], 0
        self._convert(rows, None)

    def result(self) -> TableRead:
        """Return what was read."""
        columns = [
            pa.chunked_array([batch[at] for batch in self._batches], kind) for at, kind in enumerate(self._kinds)
        ]
        table = pa.Table.from_arrays(columns, names=list(self._names)).unify_dictionaries()
        return TableRead(table, tuple(self._bad.rows))

    def _is_right(self, row: Record) -> bool:
        return len(row.cells) == len(self._names) and row.cells != self._header

    def _is_blank(self, row: Record) -> bool:
        return len(row.cells) == 1 < len(self._names) and not row.cells[0].strip()

    def _convert(self, rows: list[Record], bad: Record | None) -> None:
        """Turn rows into Arrow, and take note of the bad ones among them and of the one behind them."""
        if rows:
            columns = [pa.array(cells, pa.string()) for cells in zip(*(row.cells for row in rows), strict=True)]
            wrong: dict[int, BadRow] = {}
            for at, kind in enumerate(self._kinds):
                for row in wrong_rows(columns[at], kind, self._form.decimal):
                    why = reason(rows[row].cells[at], kind, self._form.decimal)
                    wrong.setdefault(row, BadRow(self._path, rows[row].line, self._names[at], why))
            self._bad.add([wrong[row] for row in sorted(wrong)])
            if wrong:
                kept = pa.array([row for row in range(len(rows)) if row not in wrong], pa.int64())
                columns = [column.take(kept) for column in columns]
            self._batches.append(
                [converted(column, kind, self._form.decimal) for column, kind in zip(columns, self._kinds, strict=True)]
            )
        if bad is not None:
            self._bad.add([BadRow(self._path, bad.line, None, bad.flaw or self._why(bad))])

    def _why(self, row: Record) -> str:
        """Return what is wrong with the shape of a row."""
        if row.cells == self._header:
            return "it repeats the header, as files that were joined do"
        count, names = len(row.cells), len(self._names)
        separated = "blanks" if self._form.delimiter == SPACES else quoted(self._form.delimiter, 10)
        hint = ""
        if count > names:
            hint = (
                f": a cell that contains {separated} belongs in quotation marks" if self._form.quote != "none" else ""
            )
            hint = hint or f": a cell contains {separated}" + (", or set rest for the last column" if count else "")
        return f"{count} columns where {names} are expected, separated by {separated}{hint}"
