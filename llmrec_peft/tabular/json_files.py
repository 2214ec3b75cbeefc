"""JSON files as tables of texts and lists of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.types as of

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import shown
from llmrec_peft.tabular.cells import cell_of, column_of, joined
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.json_records import BrokenJsonError, JsonRecord, json_records
from llmrec_peft.tabular.table_read import BadRow, BadRows, TableRead
from llmrec_peft.tabular.typed import converted, reason, wrong_rows
from llmrec_peft.tabular.unpacked import DamagedFileError, opened

_FIRST = 5000
"""Records whose fields are the columns, where nobody names them."""
_ROWS = 20_000
"""Rows that become Arrow at once."""
_MOST_COLUMNS = 10_000


@contextmanager
def _records(path: Path, form: FileForm) -> Iterator[Iterator[JsonRecord]]:
    """Open the records of a file.

    Raises:
        InputError: In the block, naming the line from which on the file cannot be read.
    """
    last = 0

    def counted(found: Iterator[JsonRecord]) -> Iterator[JsonRecord]:
        nonlocal last
        for record in found:
            last = record.line
            yield record

    try:
        with opened(path, form.compression) as unpacked:
            yield counted(json_records(unpacked, form))
    except BrokenJsonError as error:
        raise InputError(f"{shown(path)}, line {error.line}: {error}") from None
    except DamagedFileError as error:
        raise InputError(f"{shown(path)}: {error}, after line {last}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{shown(path)}: not {form.encoding} ({reason_of(error)}), after line {last}") from None


def json_columns(path: Path, form: FileForm) -> tuple[str, ...]:
    """Return the columns that are read: those of the form, else the fields of the first records.

    Raises:
        InputError: If there is no record, or no field.
    """
    if form.columns is not None:
        return form.columns
    with _records(path, form) as found:
        first = list(islice(found, _FIRST))
    names = dict.fromkeys(name for record in first for name in record.fields)
    if not first:
        raise InputError(f"{shown(path)}: the file holds no record")
    if not names:
        raise InputError(f"{shown(path)}, line {first[0].line}: {first[0].flaw or 'no record has a field'}")
    if len(names) > _MOST_COLUMNS:
        raise InputError(f"{shown(path)}: its records have {len(names)} fields: name those to read (option columns)")
    return tuple(names)


def first_json_rows(path: Path, form: FileForm, rows: int) -> pa.Table:
    """Return the first rows that can be read."""
    names = json_columns(path, form)
    with _records(path, form) as found:
        first = [record for record in islice(found, rows) if record.flaw is None and _is_text(record)]
    columns = [column_of([cell_of(record.fields.get(name)) for record in first]) for name in names]
    return pa.Table.from_arrays(columns, names=list(names))


def read_json_exactly(
    path: Path, form: FileForm, names: Sequence[str], types: Mapping[str, pa.DataType], skip_bad: int
) -> TableRead:
    """Read a JSON file record by record; the arguments are those of `read_table`.

    Raises:
        InputError: As `read_table`.
    """
    exact = _Exact(path, form, names, types, skip_bad)
    with _records(path, form) as found:
        rows: list[JsonRecord] = []
        for record in found:
            if record.flaw is None:
                rows.append(record)
                if len(rows) < _ROWS:
                    continue
                exact.convert(rows, None)
            else:
                exact.convert(rows, record)
            rows = []
        exact.convert(rows, None)
    return exact.result()


class _Exact:
    """The records of one file, on their way into Arrow."""

    def __init__(
        self, path: Path, form: FileForm, names: Sequence[str], types: Mapping[str, pa.DataType], skip_bad: int
    ) -> None:
        self._path = path
        self._form = form
        self._names = names
        self._types = types
        self._bad = BadRows(skip_bad)
        self._parts: list[list[pa.Array]] = [[] for _ in names]

    def convert(self, rows: list[JsonRecord], bad: JsonRecord | None) -> None:
        """Turn records into Arrow, and take note of the bad ones among them and of the one behind them."""
        if rows:
            wrong = {
                at: BadRow(self._path, row.line, None, "half a character (a lone surrogate)")
                for at, row in enumerate(rows)
                if not _is_text(row)
            }
            rows_kept = [row for at, row in enumerate(rows) if at not in wrong]
            lines = [at for at in range(len(rows)) if at not in wrong]
            columns = [column_of([cell_of(row.fields.get(name)) for row in rows_kept]) for name in self._names]
            for at, name in enumerate(self._names):
                for row, why in self._wrong(columns[at], name):
                    wrong.setdefault(lines[row], BadRow(self._path, rows_kept[row].line, name, why))
            self._bad.add([wrong[row] for row in sorted(wrong)])
            kept = pa.array([at for at, row in enumerate(lines) if row not in wrong], pa.int64())
            for at, name in enumerate(self._names):
                column = columns[at].take(kept)
                self._parts[at].append(self._typed(column, name))
        if bad is not None:
            self._bad.add([BadRow(self._path, bad.line, None, bad.flaw or "")])

    def result(self) -> TableRead:
        """Return what was read."""
        columns = []
        for name, parts in zip(self._names, self._parts, strict=True):
            kind = self._types.get(name)
            columns.append(joined(parts) if kind is None else pa.chunked_array(parts, kind))
        table = pa.Table.from_arrays(columns, names=list(self._names)).unify_dictionaries()
        return TableRead(table, tuple(self._bad.rows))

    def _wrong(self, column: pa.Array, name: str) -> list[tuple[int, str]]:
        kind = self._types.get(name)
        if kind is None:
            return []
        if of.is_list(column.type):
            lists = [row for row, value in enumerate(column.to_pylist()) if value is not None]
            return [(row, f"a list, where {kind!s:.40} is expected") for row in lists]
        rows = wrong_rows(column, kind, self._form.decimal)
        return [(row, reason(column[row].as_py(), kind, self._form.decimal)) for row in rows]

    def _typed(self, column: pa.Array, name: str) -> pa.Array:
        kind = self._types.get(name)
        if kind is None:
            return column
        plain = pa.nulls(len(column), pa.string()) if of.is_list(column.type) else column
        return converted(plain, kind, self._form.decimal)


def _is_text(record: JsonRecord) -> bool:
    """Return whether no text of a record holds half a character, which JSON can escape and no file can hold."""
    try:
        str(record.fields).encode("utf-8") if "\\ud" in ascii(record.fields) else None
    except UnicodeEncodeError:
        return False
    return True
