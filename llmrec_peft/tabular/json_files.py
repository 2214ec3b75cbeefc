"""JSON files as tables of texts and lists of texts."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice, takewhile
from pathlib import Path

import pyarrow as pa

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import shown
from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.tabular.cells import cell_of, column_of
from llmrec_peft.tabular.delimited import SuspiciousError
from llmrec_peft.tabular.form import MOST_COLUMNS, FileForm
from llmrec_peft.tabular.json_quick import kinds_of, parsed_records, read_json_quickly, require_quick
from llmrec_peft.tabular.json_records import BrokenJsonError, JsonRecord, json_records
from llmrec_peft.tabular.row_table import RowTable
from llmrec_peft.tabular.table_read import TableRead
from llmrec_peft.tabular.unpacked import DamagedFileError, Unpacked, opened

FIRST = 5000
"""Records whose fields are the columns, where nobody names them."""
_FIRST_BYTES = 1 << 26
"""Bytes after which no further record is looked at for that."""


@contextmanager
def _records(
    path: Path,
    form: FileForm,
    progress: Progress = SILENT,
    quick: Callable[[bytes, int], bool] | None = None,
) -> Iterator[tuple[Iterator[JsonRecord], Unpacked]]:
    """Open the records of a file, and the file.

    Raises:
        InputError: In the block, naming the line from which on the file cannot be read.
    """
    last = 0

    def counted(found: Iterator[JsonRecord]) -> Iterator[JsonRecord]:
        nonlocal last
        for record in found:
            last = record.line
            yield record

    def counting(lines: bytes, before: int) -> bool:
        nonlocal last
        read = quick is not None and quick(lines, before)
        last = before + lines.count(b"\n") if read else last
        return read

    try:
        with opened(path, form.compression, progress) as unpacked:
            yield counted(json_records(unpacked, form, counting)), unpacked
    except BrokenJsonError as error:
        raise InputError(f"{shown(path)}, line {error.line}: {error}") from None
    except DamagedFileError as error:
        raise InputError(f"{shown(path)}: {error}, after line {last}") from None
    except UnicodeError as error:
        raise InputError(f"{shown(path)}: not {form.encoding} ({reason_of(error)}), after line {last}") from None


def numbered_records(path: Path, form: FileForm) -> Iterator[int]:
    """Yield the line that each record begins in that can be read.

    Raises:
        InputError: Naming the line from which on the file cannot be read.
    """
    with _records(path, form) as (found, _):
        yield from (record.line for record in found if record.flaw is None)


def json_columns(path: Path, form: FileForm) -> tuple[str, ...]:
    """Return the columns that are read: those of the form, else the fields of the first records.

    Raises:
        InputError: If there is no record, or no field.
    """
    return form.columns or _fields(path, _first(path, form))


def _first(path: Path, form: FileForm) -> list[JsonRecord]:
    """Return the first records; fewer of long ones."""
    with _records(path, form) as (found, file):
        return list(takewhile(lambda _: file.size < _FIRST_BYTES, islice(found, FIRST)))


def _fields(path: Path, first: list[JsonRecord]) -> tuple[str, ...]:
    names = dict.fromkeys(name for record in first if record.flaw is None for name in record.fields)
    if not first:
        raise InputError(f"{shown(path)}: the file holds no record")
    if not names:
        raise InputError(f"{shown(path)}, line {first[0].line}: {first[0].flaw or 'no record has a field'}")
    if len(names) > MOST_COLUMNS:
        raise InputError(f"{shown(path)}: its records have {len(names)} fields: name those to read (option columns)")
    return tuple(names)


def first_json_rows(path: Path, form: FileForm) -> pa.Table:
    """Return the first rows that can be read, at most `FIRST`."""
    first = _first(path, form)
    names = form.columns or _fields(path, first)
    rows = [record.fields for record in first if record.flaw is None]
    columns = [column_of([cell_of(fields.get(name)) for fields in rows]) for name in names]
    return pa.Table.from_arrays(columns, names=list(names))


def read_json(
    path: Path,
    form: FileForm,
    names: Sequence[str],
    types: Mapping[str, pa.DataType],
    skip_bad: int,
    progress: Progress = SILENT,
) -> TableRead:
    """Read a JSON file, quickly if it can be; the arguments are those of `read_table`.

    Raises:
        InputError: As `read_table`.
    """
    kinds: list[pa.DataType | None] | None = None
    try:
        kinds = kinds_of(_first(path, form), names)
        require_quick(form, kinds, [types.get(name) for name in names])
    except SuspiciousError:
        kinds = None
    if kinds is not None:
        with suppress(SuspiciousError):
            return TableRead(read_json_quickly(path, form, names, kinds, types, progress))
    return read_json_exactly(path, form, names, types, skip_bad, progress, kinds)


def read_json_exactly(
    path: Path,
    form: FileForm,
    names: Sequence[str],
    types: Mapping[str, pa.DataType],
    skip_bad: int,
    progress: Progress = SILENT,
    kinds: Sequence[pa.DataType | None] | None = None,
) -> TableRead:
    """Read a JSON file record by record; the arguments are those of `read_table`.

    Pieces of it that are right are left to the quick way, where `kinds` says how pyarrow can read the columns.

    Raises:
        InputError: As `read_table`.
    """
    rows = RowTable(path, names, types, form.decimal, skip_bad)
    wanted = [types.get(name) for name in names]

    def quick(lines: bytes, before: int) -> bool:
        if kinds is None or (before and lines.startswith(codecs.BOM_UTF8)):
            return False
        try:
            rows.add_batches(parsed_records([lines], form, names, kinds, wanted))
        except SuspiciousError:
            return False
        return True

    with _records(path, form, progress, quick) as (found, _):
        for line, fields, flaw in found:
            if flaw is not None:
                rows.add_bad(line, flaw)
            else:
                cells = [cell_of(fields.get(name)) for name in names]
                rows.add(line, cells, sum(len(cell) for cell in cells if cell is not None))
    return rows.result()
