"""Scored files: pairs with their scores, written as CSV or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as of
from numpy.typing import NDArray

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.workflows.csv_records import csv_lines
from llmrec_peft.workflows.pair_files import Chunk, CsvChunk, CsvSource, ParquetChunk, ParquetSource, Source

KEYS = ("user_id", "item_id")
"""Columns of ids that a file of pairs has."""
ADDED = ("score", "basis")
"""Columns that a scored file has beside those of its pairs."""


class CsvSink:
    """Writes scored rows as CSV; rows of a CSV file keep their bytes."""

    def __init__(self, path: Path, source: Source, name: str) -> None:
        """Open the file and write its header.

        Args:
            path: File to write.
            source: Whose rows will come.
            name: What errors call the source.

        Raises:
            InputError: If a column cannot be written as text.
        """
        if isinstance(source, ParquetSource):
            for field in source.schema:
                if _nested(field.type):
                    raise InputError(
                        f"{name}: column {field.name[:60]!r} holds values of type {field.type!s:.60}, which CSV has"
                        " no form for: write .parquet, or leave the column out"
                    )
        self._file = path.open("wb")
        self._end = b"\n"
        if isinstance(source, CsvSource):
            self._end = source.header.end or b"\n"
            self._file.write(source.header.raw + b",score,basis" + self._end)
        else:
            self._file.write(csv_lines([[*source.names, "score", "basis"]]).encode())

    def write(self, chunk: Chunk, scores: NDArray[np.float32], basis: Sequence[str]) -> None:
        """Write rows with their scores [n], NaN where there is none, and bases [n]."""
        texts = ["" if text == "nan" else text for text in scores.astype("U32").tolist()]
        if isinstance(chunk, CsvChunk):
            rows = zip(chunk.records, texts, basis, strict=True)
            self._file.writelines(
                b"%b,%b,%b%b" % (record.raw, text.encode(), why.encode(), record.end or self._end)
                for record, text, why in rows
            )
        elif isinstance(chunk, ParquetChunk):
            columns = [_cells(column) for column in chunk.table.columns]
            self._file.write(csv_lines(zip(*columns, texts, basis, strict=True)).encode())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ParquetSink:
    """Writes scored rows as Parquet; columns of a CSV file are text there."""

    def __init__(self, path: Path, source: Source, name: str) -> None:
        """Open the file; see `CsvSink`."""
        plain = pa.schema([(name, pa.string()) for name in source.names])
        schema = source.schema if isinstance(source, ParquetSource) else plain
        self._schema = schema.append(pa.field("score", pa.float32())).append(pa.field("basis", pa.string()))
        try:
            self._writer = pq.ParquetWriter(path, self._schema)
        except pa.ArrowException as error:
            raise InputError(f"{name}: Parquet cannot be written of it ({reason_of(error)})") from None
        self._name = name

    def write(self, chunk: Chunk, scores: NDArray[np.float32], basis: Sequence[str]) -> None:
        """Write rows; see `CsvSink.write`."""
        score = pa.array(scores, mask=np.isnan(scores))
        if isinstance(chunk, ParquetChunk):
            columns = list(chunk.table.columns)
        elif isinstance(chunk, CsvChunk):
            columns = [pa.array(values, pa.string()) for values in zip(*(r.fields for r in chunk.records), strict=True)]
        try:
            self._writer.write_table(pa.table([*columns, score, pa.array(basis)], schema=self._schema))
        except pa.ArrowException as error:
            raise InputError(f"{self._name}: Parquet cannot be written of it ({reason_of(error)})") from None

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


def source_of(file: BinaryIO, read_as: str, name: str) -> Source:
    """Read the header of a file of pairs.

    Args:
        file: The file, open for reading.
        read_as: ``csv`` or ``parquet``.
        name: What errors call it.

    Raises:
        InputError: If it is no such file, lacks a column, or has one that the output adds.
    """
    pairs: Source = (CsvSource if read_as == "csv" else ParquetSource)(file, name, KEYS)
    for added in ADDED:
        if added in pairs.names:
            raise InputError(f"{name}: it has a column {added!r}, which the output adds: rename that of the input")
    return pairs


def sink_of(path: Path, write_as: str, pairs: Source, name: str) -> CsvSink | ParquetSink:
    """Begin a file of scores.

    Args:
        path: File to write.
        write_as: ``csv`` or ``parquet``.
        pairs: Whose rows will come.
        name: What errors call the source.

    Raises:
        InputError: If a column cannot be written.
    """
    return (CsvSink if write_as == "csv" else ParquetSink)(path, pairs, name)


def _nested(stored: pa.DataType) -> bool:
    """Return whether CSV has no form for values of a type."""
    if of.is_dictionary(stored):
        stored = stored.value_type
    if isinstance(stored, pa.BaseExtensionType):
        stored = stored.storage_type
    binary = of.is_binary(stored) or of.is_large_binary(stored) or of.is_fixed_size_binary(stored)
    if binary or stored == pa.binary_view():
        return True
    try:
        pa.nulls(1, stored).cast(pa.string())
    except pa.ArrowException:
        return True
    return False


def _cells(column: pa.ChunkedArray) -> list[str]:
    """Return a column of Parquet as text: numbers by the shortest digits that give them back, dates as in ISO 8601."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    if of.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if of.is_floating(column.type):
        kind = column.type.to_pandas_dtype()
        return ["" if value is None else str(kind(value)) for value in column.to_pylist()]
    return [text or "" for text in column.cast(pa.string()).to_pylist()]
