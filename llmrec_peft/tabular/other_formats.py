"""Files whose format names the columns itself: JSON and Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.json_files import first_json_rows, json_columns, read_json
from llmrec_peft.tabular.parquet_files import parquet_columns, read_parquet
from llmrec_peft.tabular.table_read import TableRead


def sample_rows(path: Path, form: FileForm, rows: int) -> pa.Table:
    """Return the first rows of a file as texts and lists of texts.

    Raises:
        InputError: As `llmrec_peft.tabular.read.read_table`.
    """
    if form.format == "parquet":
        names = parquet_columns(path, form)
        return read_parquet(path, form, names, {}, 0, rows).table.slice(0, rows).combine_chunks()
    return first_json_rows(path, form).slice(0, rows)


def own_columns(path: Path, form: FileForm) -> tuple[str, ...]:
    """Return the columns of a JSON or Parquet file that are read."""
    return parquet_columns(path, form) if form.format == "parquet" else json_columns(path, form)


def read_other(
    path: Path,
    form: FileForm,
    names: Sequence[str],
    types: Mapping[str, pa.DataType],
    skip_bad: int,
    progress: Progress = SILENT,
) -> TableRead:
    """Read a JSON or Parquet file; the arguments are those of `llmrec_peft.tabular.read.read_table`."""
    if form.format == "parquet":
        return read_parquet(path, form, names, types, skip_bad, progress=progress)
    return read_json(path, form, names, types, skip_bad, progress)
