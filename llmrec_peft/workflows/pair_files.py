"""Files of pairs: users, items and further columns of a CSV or Parquet file, a chunk at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as of

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.workflows.csv_records import CsvRecords, Record

CHUNK_BYTES = 4 << 20
"""Bytes of a CSV file that are read at once."""
CHUNK_ROWS = 65_536
"""Rows that are read at once."""
_NAMES = 200
"""Characters of the names of columns in an error."""


class Chunk(Protocol):
    """Some consecutive rows."""

    def __len__(self) -> int: ...

    @property
    def size(self) -> int:
        """How far this chunk brings the reading, in `Source.unit`."""

    def ids(self, name: str) -> list[str | None]:
        """Return a column of ids as text; None or empty text where there is none."""

    def value(self, name: str, row: int) -> Any:
        """Return one cell: text from CSV, a value of the column's type from Parquet.

        Raises:
            InputError: If Python has no form for it, such as a date in the year 20000.
        """


@dataclass(frozen=True)
class CsvChunk:
    """Rows of a CSV file."""

    names: Sequence[str]
    records: list[Record]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def size(self) -> int:
        return sum(len(record.raw) for record in self.records) >> 10

    def ids(self, name: str) -> list[str | None]:
        at = self.names.index(name)
        return [record.fields[at] for record in self.records]

    def value(self, name: str, row: int) -> Any:
        return self.records[row].fields[self.names.index(name)]


@dataclass(frozen=True)
class ParquetChunk:
    """Rows of a Parquet file."""

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def size(self) -> int:
        return len(self)

    def ids(self, name: str) -> list[str | None]:
        return id_texts(self.table.column(name))

    def value(self, name: str, row: int) -> Any:
        try:
            return self.table.column(name)[row].as_py()
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise InputError(f"column {name[:60]!r} is unreadable ({reason_of(error)})") from None


class Source(Protocol):
    """A file that is being read.

    Attributes:
        names: Its columns.
        unit: What its size is counted in.
        total: Its size; None if it is not known.
    """

    names: list[str]
    unit: str
    total: int | None

    def __iter__(self) -> Iterator[Chunk]: ...


class CsvSource:
    """A CSV file, all columns of which are text."""

    def __init__(self, file: BinaryIO, name: str, keys: Sequence[str]) -> None:
        """Read the header.

        Args:
            file: The file, open for reading.
            name: What errors call it.
            keys: Columns that have to be there.

        Raises:
            InputError: If it is no header, or lacks a column.
        """
        self._records = CsvRecords(file, name)
        self.header = self._records.header
        self.names = self.header.fields
        require_names(self.names, keys, name)
        try:
            size = os.fstat(file.fileno()).st_size  # 0 for a pipe
        except OSError:
            size = 0
        self.unit = "KiB"
        self.total: int | None = size >> 10 or None

    def __iter__(self) -> Iterator[CsvChunk]:
        some: list[Record] = []
        size = 0
        for record in self._records:
            some.append(record)
            size += len(record.raw)
            if len(some) >= CHUNK_ROWS or size >= CHUNK_BYTES:
                yield CsvChunk(self.names, some)
                some, size = [], 0
        if some:
            yield CsvChunk(self.names, some)


class ParquetSource:
    """A Parquet file, whose columns keep their types."""

    def __init__(self, file: BinaryIO, name: str, keys: Sequence[str]) -> None:
        """Read the schema.

        Args:
            file: The file, open for reading.
            name: What errors call it.
            keys: Columns of ids, which have to be there.

        Raises:
            InputError: If it is no Parquet file, lacks a column, or its ids are neither text nor numbers.
        """
        self._name = name
        with _readable(name):
            self._file = pq.ParquetFile(file)
            self.schema = self._file.schema_arrow
            self.names = list(self.schema.names)
            self.unit = "rows"
            self.total: int | None = self._file.metadata.num_rows or None
        require_names(self.names, keys, name)
        for key in keys:
            stored = self.schema.field(key).type
            plain = stored.value_type if of.is_dictionary(stored) else stored
            if not (_is_text(plain) or of.is_integer(plain) or of.is_floating(plain) or of.is_null(plain)):
                raise InputError(
                    f"{name}: column {key} holds values of type {stored!s:.60}: ids are text or whole numbers"
                )

    def __iter__(self) -> Iterator[ParquetChunk]:
        done = 0
        with _readable(self._name):
            for batch in self._file.iter_batches(batch_size=CHUNK_ROWS):
                table = pa.Table.from_batches([batch])
                self._require_valid(table, done)
                yield ParquetChunk(table)
                done += len(table)

    def _require_valid(self, table: pa.Table, done: int) -> None:
        """Refuse text that is no UTF-8, naming its row, and values that their type does not allow."""
        for name in table.column_names:
            column = table.column(name)
            try:
                column.validate(full=True)
            except pa.ArrowInvalid as error:
                if "UTF8" not in str(error):
                    raise
                row = next(at for at in range(len(column)) if not _is_valid(column.slice(at, 1)))
                raise InputError(f"{self._name}, row {done + row + 1}, column {name[:60]!r}: not utf-8 text") from None


def require_names(names: Sequence[str], keys: Sequence[str], where: str) -> None:
    """Refuse columns without a name or with one name twice, and the lack of a column.

    Raises:
        InputError: Naming the columns.
    """
    for at, name in enumerate(names):
        if not name.strip():
            raise InputError(f"{where}: column {at + 1} has no name in the header")
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise InputError(f"{where}: {names.count(twice)} columns are called {twice[:60]!r}")
    for key in keys:
        if key not in names:
            unsplit = len(names) == 1 and any(mark in names[0] for mark in ";\t|")
            comma = "; commas separate columns, and this line has none" if unsplit else ""
            raise InputError(f"{where}: no column {key} (it has {listed_names(names)}){comma}")


def listed_names(names: Sequence[str]) -> str:
    """Return names of columns for a message, shortened; those with blanks around or control characters are quoted.

    >>> listed_names(["user_id", " item_id"])
    "user_id, ' item_id'"
    """
    listed = ", ".join(name if name.isprintable() and name == name.strip() else repr(name) for name in names)
    return f"{listed[:_NAMES]}…" if len(listed) > _NAMES else listed


def id_texts(column: pa.ChunkedArray) -> list[str | None]:
    """Return ids as text: a whole number by its digits, any other number with its point, as ``1.0``.

    A number with a point is never taken for the whole number: a CSV file has ``1.0`` there, and whoever wrote the ids
    as such numbers may have lost digits of them.

    >>> id_texts(pa.chunked_array([[7, None]])), id_texts(pa.chunked_array([[1e10, 0.5]]))
    (['7', None], ['10000000000.0', '0.5'])
    """
    if of.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values: list[Any] = column.to_pylist()
    if of.is_integer(column.type):
        return [None if value is None else str(value) for value in values]
    if of.is_floating(column.type):
        kind = column.type.to_pandas_dtype()
        return [
            None if value is None or np.isnan(value) else np.format_float_positional(kind(value), trim="0")
            for value in values
        ]
    return values


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    """Say in one line what is wrong with a Parquet file."""
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{name}: unreadable ({reason_of(error)})") from None


def _is_text(stored: pa.DataType) -> bool:
    return bool(of.is_string(stored) or of.is_large_string(stored) or of.is_string_view(stored))


def _is_valid(column: pa.ChunkedArray) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
