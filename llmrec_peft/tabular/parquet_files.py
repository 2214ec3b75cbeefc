"""Parquet files as tables of texts and lists of texts: read in batches, bounded by what they hold unpacked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as of

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import quoted, shown
from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.regular_files import open_regular
from llmrec_peft.tabular.cells import LISTS
from llmrec_peft.tabular.extension_types import plain_table
from llmrec_peft.tabular.form import MOST_COLUMNS, FileForm
from llmrec_peft.tabular.table_read import BadRow, BadRows, TableRead, require_names
from llmrec_peft.tabular.typed import converted, finite, reason, wrong_rows
from llmrec_peft.tabular.unpacked import LARGEST_FILE, LARGEST_RATIO

_ROWS = 65_536
"""Rows that are read at once."""
_ALWAYS = 1 << 30
"""Bytes that a table may have unpacked whatever the size of its file: few distinct values pack to nearly nothing."""
_FOOTER = 64 << 20
_ERRORS = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[pq.ParquetFile, int]]:
    """Open a Parquet file; texts are read as dictionaries, so that one that stands in many rows is stored once.

    Raises:
        InputError: If it is no Parquet file, or unpacks to more than a table does.
    """
    limits = {"thrift_string_size_limit": _FOOTER, "thrift_container_size_limit": _FOOTER}
    with open_regular(path, LARGEST_FILE, follow_links=True) as (descriptor, found):
        most = max(_ALWAYS, LARGEST_RATIO * found.st_size)
        try:
            with os.fdopen(os.dup(descriptor), "rb") as file:
                facts = pq.ParquetFile(file, arrow_extensions_enabled=False, **limits).metadata
                if facts.num_columns > MOST_COLUMNS:
                    raise InputError(f"{shown(path)}: {facts.num_columns:,} columns, more than {MOST_COLUMNS:,}")
                columns = [facts.schema.column(at) for at in range(facts.num_columns)]
                declared = sum(
                    max(0, facts.row_group(group).column(at).total_uncompressed_size)
                    for group in range(facts.num_row_groups)
                    for at in range(facts.num_columns)
                )
                if declared > most or facts.num_rows > most:
                    raise InputError(f"{shown(path)}: unpacks to {max(declared, facts.num_rows):,} bytes: no table")
                texts = [one.path for one in columns if one.physical_type == "BYTE_ARRAY"]
                file.seek(0)
                yield pq.ParquetFile(file, read_dictionary=texts, arrow_extensions_enabled=False, **limits), most
        except _ERRORS as error:
            raise InputError(f"{shown(path)}: no Parquet file that is read here ({reason_of(error)})") from None


def parquet_columns(path: Path, form: FileForm) -> tuple[str, ...]:
    """Return the columns that are read: those of the form, else all.

    Raises:
        InputError: If it is no Parquet file, or lacks one of the form's columns.
    """
    with _opened(path) as (file, _):
        names = tuple(file.schema_arrow.names)
    require_names(names, path)
    absent = [name for name in form.columns or () if name not in names]
    if absent:
        raise InputError(f"{shown(path)}: no column {quoted(absent[0], 60)}")
    return form.columns or names


def read_parquet(
    path: Path,
    form: FileForm,
    names: Sequence[str],
    types: Mapping[str, pa.DataType],
    skip_bad: int,
    most_rows: int | None = None,
    progress: Progress = SILENT,
) -> TableRead:
    """Read a Parquet file; the arguments are those of `read_table`.

    Raises:
        InputError: As `read_table`.
    """
    bad = BadRows(skip_bad)
    done = size = 0
    parts: list[list[pa.Array]] = [[] for _ in names]
    with _opened(path) as (file, most), progress.bar(f"reading {path.name}", file.metadata.num_rows) as bar:
        kinds = [types.get(name) for name in names]
        uuids = _uuids(file)
        for stored in file.iter_batches(batch_size=_ROWS, columns=list(names), use_threads=False):
            batch = plain_table(pa.Table.from_batches([stored]), uuids).combine_chunks().to_batches()[0]
            size += sum(_unpacked_size(batch.column(name)) for name in names)
            if size > most:
                raise InputError(f"{shown(path)}: unpacks to more than {most:,} bytes (after row {done}): no table")
            columns = [_readable(path, name, batch.column(name), kind) for name, kind in zip(names, kinds, strict=True)]
            wrong: dict[int, BadRow] = {}
            for name, column, kind in zip(names, columns, kinds, strict=True):
                for row, why in _wrong(column, kind, form, bad.left + 1):
                    wrong.setdefault(row, BadRow(path, done + row + 1, name, why))
            bad.add([wrong[row] for row in sorted(wrong)])
            if wrong:
                kept = pa.array([row for row in range(len(batch)) if row not in wrong], pa.int64())
                columns = [column.take(kept) for column in columns]
            for at, (column, kind) in enumerate(zip(columns, kinds, strict=True)):
                parts[at].append(column if kind is None else _converted(column, kind, form))
            done += len(batch)
            bar.advance(len(batch))
            if most_rows is not None and done >= most_rows:
                break
        empty = [LISTS if _is_list(file.schema_arrow.field(name).type) else pa.string() for name in names]
    read = [pa.chunked_array(part, kind or plain) for part, kind, plain in zip(parts, kinds, empty, strict=True)]
    return TableRead(pa.Table.from_arrays(read, names=list(names)).unify_dictionaries(), tuple(bad.rows))


def _uuids(file: pq.ParquetFile) -> frozenset[str]:
    """Return the columns that hold UUIDs by Parquet's own types, which pyarrow reads as bytes."""
    stored = [file.schema.column(at) for at in range(len(file.schema))]
    paths = [one.path for one in stored if one.logical_type.type == "UUID"]
    return frozenset(
        name for name in file.schema_arrow.names if any(path == name or path.startswith(f"{name}.") for path in paths)
    )


def _unpacked_size(column: pa.Array) -> int:
    """Return how many bytes the texts of a column take, each as often as it stands there; else those of its values."""
    if _is_list(column.type):
        return 4 * len(column) + _unpacked_size(column.flatten())
    if of.is_dictionary(column.type):
        lengths = pc.binary_length(column.dictionary.cast(pa.large_binary()))
        return 4 * len(column) + int(pc.sum(lengths.take(column.indices)).as_py() or 0)
    return int(column.nbytes)


def _is_list(kind: pa.DataType) -> bool:
    return bool(of.is_list(kind) or of.is_large_list(kind) or of.is_fixed_size_list(kind))


def _readable(path: Path, name: str, column: pa.Array, kind: pa.DataType | None) -> pa.Array:
    """Return a column as `_texts` does.

    Raises:
        InputError: Naming the column, if it cannot be read.
    """
    try:
        return _texts(column, kind)
    except _ERRORS as error:
        raise InputError(f"{shown(path)}, column {quoted(name, 60)}: not read ({reason_of(error)})") from None


def _texts(column: pa.Array, kind: pa.DataType | None) -> pa.Array:
    """Return a column as texts or lists of texts, or as it is where its own type converts to the one asked for."""
    own = column.type
    if of.is_dictionary(own):
        column = column.cast(own.value_type)
        own = own.value_type
    if _is_list(own):
        inner = _texts(column.flatten(), None)
        if _is_list(inner.type):
            raise ValueError("lists of lists are no column that is read")
        counts = pc.fill_null(pc.list_value_length(column), 0)
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(counts).cast(pa.int32())])
        return pa.ListArray.from_arrays(offsets, inner, mask=column.is_null())
    if of.is_binary(own) or of.is_large_binary(own):
        return column.cast(pa.large_binary()).cast(pa.large_string()).cast(pa.string())
    if kind is not None and not (of.is_string(own) or of.is_large_string(own)) and not of.is_dictionary(kind):
        return column
    if of.is_boolean(own):
        return pc.if_else(column, "true", "false")
    if of.is_struct(own) or of.is_map(own):
        raise ValueError("columns of structures are not read: name the others (option columns)")
    if of.is_floating(own):  # NaN stands for a missing value, and would be the id of a user
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, own), column)
    texts = column.cast(pa.string())
    texts.validate(full=True)
    return texts


def _wrong(column: pa.Array, kind: pa.DataType | None, form: FileForm, most: int) -> list[tuple[int, str]]:
    """Return the first rows whose cell is not of a type, and why."""
    if kind is None:
        return []
    if of.is_string(column.type):
        rows = wrong_rows(column, kind, form.decimal, most)
        return [(row, reason(column[row].as_py(), kind, form.decimal)) for row in rows]
    found: list[tuple[int, str]] = []
    try:
        _converted(column, kind, form)
    except _ERRORS:
        for row in range(len(column)):
            try:
                _converted(column.slice(row, 1), kind, form)
            except _ERRORS:
                found.append((row, f"{quoted(str(column[row]), 40)} is no {kind!s:.40}"))
                if len(found) >= most:
                    break
    return found


def _converted(column: pa.Array, kind: pa.DataType, form: FileForm) -> pa.Array:
    if of.is_string(column.type):
        return converted(column, kind, form.decimal)
    return finite(column, kind)
