"""Table files: the rows of a report as ``results.csv`` and ``results.parquet``, one line per cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from llmrec_peft.benchmark.flat_rows import flat_rows
from llmrec_peft.benchmark.rows import Row

_TEXTS = ("reason", "code", "data_fingerprint")
"""Columns of texts that can be empty in all rows."""
_BITS = 64
"""Bits of a whole number with its sign."""


def as_csv(rows: Sequence[Row]) -> str:
    """Return one line per cell; missing figures are empty."""
    flat = flat_rows(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(flat[0]) if flat else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def as_parquet(rows: Sequence[Row]) -> bytes:
    """Return one line per cell in typed columns: whole numbers, numbers, truth values or texts; missing ones are null.

    Values of an axis that have no type in common are texts.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = flat_rows(rows)
    columns = {name: _typed(name, [row[name] for row in flat]) for name in (flat[0] if flat else ())}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _typed(name: str, values: list[Any]) -> Any:
    """Return a column in the narrowest type that all of its values have."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.array(values, pa.string() if name in _TEXTS else pa.float64())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int} and all(value is None or value.bit_length() < _BITS for value in values):
        return pa.array(values, pa.int64())
    if kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())
