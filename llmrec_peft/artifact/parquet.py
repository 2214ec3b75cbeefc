"""Parquet tables of a run folder: read from memory, with bounds on what a footer may promise, and exact types."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmrec_peft.errors import InputError, reason_of

MOST_ROWS = 1 << 31
MOST_COLUMNS = 1000
FOOTER_BYTES = 16 << 20
ROWS_OF_A_GROUP = 1 << 20
"""Rows that pyarrow writes into a row group; only the last one may be smaller by much."""
MOST_GROUPS = 64
"""Row groups beyond those that the rows need."""
UNPACKED = 64
"""How many times larger than the file its unpacked columns may be; Snappy packs to a twenty-second at best."""
SLACK_BYTES = 1 << 20
_CODECS = ("SNAPPY", "UNCOMPRESSED")
"""What runs are written with; other codecs can pack gigabytes into a kilobyte."""
_MAGIC, _TAIL = b"PAR1", 8
_DTYPES: Mapping[pa.DataType, type[np.generic]] = {
    pa.int64(): np.int64,
    pa.float32(): np.float32,
    pa.float64(): np.float64,
}


class Table:
    """A table whose columns are read one by one, each of an exact type and without empty rows."""

    def __init__(self, content: bytes | bytearray | mmap.mmap, where: Path) -> None:
        """Read the footer.

        Args:
            content: The file's bytes, in memory or mapped.
            where: Its path, for messages.

        Raises:
            InputError: If it is no Parquet file, or its footer is out of bounds.
        """
        self._where = where
        length = int.from_bytes(content[-_TAIL : -len(_MAGIC)], "little")
        if content[: len(_MAGIC)] != _MAGIC or content[-len(_MAGIC) :] != _MAGIC or length > FOOTER_BYTES:
            raise self.wrong("no Parquet file, or a footer that is too long")
        limits = {"thrift_string_size_limit": FOOTER_BYTES, "thrift_container_size_limit": FOOTER_BYTES}
        try:
            facts = pq.ParquetFile(pa.BufferReader(content), arrow_extensions_enabled=False, **limits).metadata
            self._require_bounds(facts, len(content))
            columns = [facts.schema.column(at) for at in range(facts.num_columns)]
            # a text that stands in many rows is stored once, and so it is read once
            texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
            self._file = pq.ParquetFile(
                pa.BufferReader(content),
                metadata=facts,
                read_dictionary=texts,
                arrow_extensions_enabled=False,
                **limits,
            )
            schema = self._file.schema_arrow
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise self.wrong(reason_of(error)) from None
        if len(set(schema.names)) < len(schema.names):
            raise self.wrong("a column stands twice")
        self.schema = schema
        self.rows = int(self._file.metadata.num_rows)

    def _require_bounds(self, facts: pq.FileMetaData, size: int) -> None:
        rows, columns, groups = facts.num_rows, facts.num_columns, facts.num_row_groups
        if rows > MOST_ROWS or columns > MOST_COLUMNS or groups > MOST_GROUPS + rows // ROWS_OF_A_GROUP:
            raise self.wrong(f"{rows:,} rows, {columns:,} columns and {groups:,} row groups")
        unpacked, counted = 0, 0
        for at in range(groups):
            group = facts.row_group(at)
            counted += group.num_rows
            for column in range(columns):
                chunk = group.column(column)
                if chunk.compression not in _CODECS:
                    raise self.wrong(f"packed by {chunk.compression}, not by {' or '.join(_CODECS)}")
                unpacked += max(0, chunk.total_uncompressed_size)
        if counted != rows:
            raise self.wrong(f"{counted} rows in its groups, not {rows}")
        if unpacked > SLACK_BYTES + UNPACKED * size:
            raise self.wrong(f"{unpacked:,} bytes unpacked from {size:,}")

    def wrong(self, reason: str) -> InputError:
        """Return the error that says what is wrong with the file."""
        return InputError(f"{self._where}: not the table it should be ({reason})")

    def require(self, *columns: str) -> None:
        """Refuse a table without some columns.

        Raises:
            InputError: Naming them.
        """
        absent = [column for column in columns if column not in self.schema.names]
        if absent:
            raise self.wrong(f"no column {', '.join(absent)}")

    def __contains__(self, column: str) -> bool:
        return column in self.schema.names

    def texts(self, column: str) -> list[str]:
        """Return a column of texts; equal ones share their memory.

        Raises:
            InputError: If it holds something else, or an empty row.
        """
        if self._kind(column) != pa.string():
            raise self.wrong(f"{column} holds {_spelled(self._kind(column))}, not text")
        found: list[str] = []
        for chunk in self._read(column).chunks:
            try:
                if pa.types.is_dictionary(chunk.type):
                    words, places = chunk.dictionary.to_pylist(), chunk.indices.to_pylist()
                    found += [words[place] for place in places]
                else:
                    found += chunk.to_pylist()
            except (ValueError, TypeError, IndexError):  # no UTF-8, an empty row, or a place outside the dictionary
                raise self.wrong(f"{column}: a row without text") from None
        if None in found:
            raise self.wrong(f"{column}: a row without text")
        return found

    def numbers(self, column: str, *kinds: pa.DataType) -> NDArray[Any]:
        """Return a column of numbers as an array of its own [rows].

        Args:
            column: Its name.
            kinds: Types that it may have, int64 by default.

        Raises:
            InputError: If it holds something else, or an empty row.
        """
        kinds, kind = kinds or (pa.int64(),), self._kind(column)
        if kind not in kinds:
            raise self.wrong(f"{column} holds {_spelled(kind)}, not {' or '.join(map(_spelled, kinds))}")
        # `to_numpy` imports pandas, which takes longer than reading the file
        array = self._whole(column)
        buffer = array.buffers()[1]
        if buffer is None:
            return np.empty(0, _DTYPES[kind])
        values = np.frombuffer(buffer, _DTYPES[kind])[array.offset : array.offset + len(array)].copy()
        if not np.isfinite(values).all():
            raise self.wrong(f"{column}: a row holds no finite number")
        return values

    def flags(self, column: str) -> NDArray[np.bool_]:
        """Return a column of true and false [rows].

        Raises:
            InputError: If it holds something else, or an empty row.
        """
        if self._kind(column) != pa.bool_():
            raise self.wrong(f"{column} holds {_spelled(self._kind(column))}, not bool")
        array = self._whole(column)
        buffer = array.buffers()[1]
        bits = np.empty(0, np.uint8) if buffer is None else np.frombuffer(buffer, np.uint8)
        return np.unpackbits(bits, bitorder="little")[array.offset : array.offset + len(array)].astype(bool)

    def _whole(self, column: str) -> pa.Array:
        array = self._read(column).combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
        if array.null_count:
            raise self.wrong(f"{column}: {array.null_count} empty rows")
        return array

    def _kind(self, column: str) -> pa.DataType:
        self.require(column)
        kind = self.schema.field(column).type
        return kind.value_type if pa.types.is_dictionary(kind) else kind  # texts are read so

    def _read(self, column: str) -> pa.ChunkedArray:
        try:
            found = self._file.read(columns=[column], use_threads=False)[column]
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise self.wrong(reason_of(error)) from None
        if len(found) != self.rows:
            raise self.wrong(f"{column} has {len(found)} rows, not {self.rows}")
        return found


def _spelled(kind: pa.DataType) -> str:
    return repr(str(kind)[:40])
