"""Where rows of a table that was read stand in its file: their lines, found by reading it once more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from llmrec_peft.tabular.delimited import columns_of
from llmrec_peft.tabular.exact import numbered_rows
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.json_files import numbered_records
from llmrec_peft.tabular.table_read import BadRow


def lines_of_rows(path: Path, form: FileForm, rows: Sequence[int], left_out: Sequence[BadRow] = ()) -> list[int]:
    """Return the lines that rows of a table begin in, from 1; of a Parquet file, the rows, from 1.

    Args:
        path: The file that the table was read from, without types of columns.
        form: Its form.
        rows: Rows of the table, from 0, in ascending order.
        left_out: Rows that were left out when it was read.

    Raises:
        InputError: If the file can no longer be read.
    """
    if not rows:
        return []
    if form.format == "parquet":
        return _among_others(rows, [bad.line - 1 for bad in left_out])
    wanted, found = iter(rows), []
    row = next(wanted)
    lines = _lines_of_delimited(path, form) if form.format == "delimited" else numbered_records(path, form)
    for at, line in enumerate(lines):
        if at == row:
            found.append(line)
            if (row := next(wanted, -1)) < 0:
                break
    return found


def _among_others(rows: Sequence[int], gone: Sequence[int]) -> list[int]:
    """Return the places, from 1, of rows among all rows, some of which are gone."""
    taken = set(gone)
    places: list[int] = []
    wanted = set(rows)
    at = kept = 0
    while len(places) < len(wanted):
        if at not in taken:
            if kept in wanted:
                places.append(at + 1)
            kept += 1
        at += 1
    return places


def _lines_of_delimited(path: Path, form: FileForm) -> Iterator[int]:
    for line, _, why in numbered_rows(path, form, columns_of(path, form)):
        if why is None:
            yield line
