"""Delimited files: the exact way, row by row, which knows what is wrong with a row and may leave it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import quoted, shown
from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.tabular.delimited import Columns, parsed_lines
from llmrec_peft.tabular.form import SPACES, FileForm
from llmrec_peft.tabular.lines import Line, numbered_lines
from llmrec_peft.tabular.records import QuotedRecords, records
from llmrec_peft.tabular.row_table import RowTable
from llmrec_peft.tabular.table_read import TableRead
from llmrec_peft.tabular.unpacked import DamagedFileError, opened


def read_exactly(
    path: Path,
    form: FileForm,
    columns: Columns,
    types: Mapping[str, pa.DataType],
    skip_bad: int,
    progress: Progress = SILENT,
    quick_pieces: bool = True,
) -> TableRead:
    """Read a delimited file row by row; pieces of it that are right are left to the quick way.

    Args:
        path: The file.
        form: Its form.
        columns: Its columns.
        types: Types of columns that are not read as texts.
        skip_bad: Bad rows that may be left out.
        progress: Where it is shown how far the reading is.
        quick_pieces: False where no piece is left to the quick way.

    Raises:
        InputError: Naming the line, and the column where it is one, of the first row that is bad beyond those allowed;
            or the line after which the file is damaged.
    """
    rows = RowTable(path, columns.names, types, form.decimal, skip_bad)
    kinds = [types.get(name, pa.string()) for name in columns.names]

    def quick(lines: bytes) -> bool:
        batches = parsed_lines(lines, form, columns, kinds) if quick_pieces else None
        if batches is not None:
            rows.add_batches(batches)
        return batches is not None

    for line, cells, why in numbered_rows(path, form, columns, quick, progress):
        if why is None:
            rows.add(line, cells, sum(map(len, cells)))
        else:
            rows.add_bad(line, why)
    return rows.result()


def numbered_rows(
    path: Path,
    form: FileForm,
    columns: Columns,
    quick: Callable[[bytes], bool] | None = None,
    progress: Progress = SILENT,
) -> Iterator[tuple[int, list[str], str | None]]:
    """Yield the rows below the header: the line that each begins in, its cells, and what is wrong with it, if anything.

    Args:
        path: The file.
        form: Its form.
        columns: Its columns.
        quick: Called with each piece of whole lines that begins a row; True where it read the piece in another way, and
            its rows are not wanted.
        progress: Where it is shown how far the reading is.

    Raises:
        InputError: Naming the line after which the file is damaged.
    """
    header = None if columns.header is None else list(columns.header)
    last = 0

    def counted(lines: Iterator[Line]) -> Iterator[Line]:
        nonlocal last
        for line in lines:
            last = line.number
            yield line

    def read_quickly(lines: bytes, before: int) -> bool:
        nonlocal last
        inside = isinstance(found, QuotedRecords) and found.inside
        if quick is None or inside or (before == 0 and header is not None) or not quick(lines):
            return False
        last = before + lines.count(b"\n")
        return True

    try:
        with opened(path, form.compression, progress) as unpacked:
            lines = counted(numbered_lines(unpacked, form.encoding, read_quickly))
            found = records(lines, form, len(columns.names))
            each = iter(found)
            if header is not None:
                next(each, None)  # was looked at before
            for line, cells, flaw in each:
                why = flaw or _wrong_shape(cells, header, len(columns.names), form)
                if why != "":
                    yield line, cells, why
    except DamagedFileError as error:
        raise InputError(f"{shown(path)}: {error}, after line {last}") from None
    except UnicodeError as error:
        raise InputError(f"{shown(path)}: not {form.encoding} ({reason_of(error)}), after line {last}") from None


def _wrong_shape(cells: list[str], header: list[str] | None, columns: int, form: FileForm) -> str | None:
    """Return what is wrong with the shape of a row; None if nothing is, an empty text for a blank line."""
    count = len(cells)
    if count == columns:
        return "it repeats the header, as files that were joined do" if cells == header else None
    if count == 1 and not cells[0].strip():
        return ""
    separated = "blanks" if form.delimiter == SPACES else quoted(form.delimiter, 10)
    short = f"{count} column{'s' * (count != 1)} where {columns} are expected, separated by {separated}"
    if count < columns:
        return short
    if form.quote != "none":
        return f"{short}: a cell that contains {separated} belongs in quotation marks"
    return (
        f"{short}: a cell contains {separated}, and the file has no quotation (option rest, if it is the last column)"
    )
