"""A table file, read into one Arrow table; what is wrong with it is said with file, line and column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from llmrec_peft.errors import InputError, nearest
from llmrec_peft.printable import quoted, shown
from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.tabular.delimited import SuspiciousError, columns_of, read_quickly
from llmrec_peft.tabular.exact import read_exactly
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.other_formats import own_columns, read_other
from llmrec_peft.tabular.table_read import TableRead
from llmrec_peft.tabular.typed import require_types


def read_table(
    path: Path,
    form: FileForm,
    types: Mapping[str, pa.DataType] | None = None,
    skip_bad: int = 0,
    progress: Progress = SILENT,
) -> TableRead:
    """Read a table file.

    Arrow's parsers read it in blocks. What they stumble over is read once more, row by row, which names what is wrong
    or, with `skip_bad`, leaves it out.

    Args:
        path: The file.
        form: Its form, as `llmrec_peft.tabular.sniff.sniffed` finds it or somebody says it.
        types: Types of columns that are not read as texts: whole numbers, numbers, timestamps (ISO 8601), dictionaries
            of texts. An empty cell of a number or a time is null; an empty text stays an empty text.
        skip_bad: Bad rows that are left out; one more is an error.
        progress: Where it is shown how far the reading of a large file is.

    Returns:
        The table, and the rows that were left out.

    Raises:
        InputError: Naming file, line and column of what is wrong.
    """
    wanted = dict(types or {})
    require_types(wanted.values())
    if form.format != "delimited":
        names = own_columns(path, form)
        _require_columns(path, wanted, names)
        return read_other(path, form, names, wanted, skip_bad, progress)
    columns = columns_of(path, form)
    _require_columns(path, wanted, columns.names)
    try:
        return TableRead(read_quickly(path, form, columns, wanted, progress))
    except SuspiciousError:
        return read_exactly(path, form, columns, wanted, skip_bad, progress)


def _require_columns(path: Path, wanted: Iterable[str], names: Sequence[str]) -> None:
    for name in wanted:
        if name not in names:
            raise InputError(f"{shown(path)}: no column {quoted(name, 60)}: {nearest(name, names)}")
