"""Server events: what a tenant's users did, from a server into a table that `llmrec update` learns from."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmrec_peft.serving.http.schemas import StoredEventOut
from llmrec_peft.workflows.csv_records import csv_lines
from llmrec_peft.workflows.streams import format_of, whole

_ROWS = 65_536
"""Events that are written at once."""
_SCHEMA = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.string()), ("label", pa.float64()), ("timestamp", pa.int64())]
)


@dataclass
class Written:
    """What was written.

    Attributes:
        events: Number of events.
        without_label: Those of them that have no label.
        last: Sequence number of the last one; None if there were none.
    """

    events: int = 0
    without_label: int = 0
    last: int | None = None


def write_events(events: Iterable[StoredEventOut], target: Path, overwrite: bool = False) -> Written:
    """Write events as interactions: user_id, item_id, label, and timestamp in whole seconds since 1970.

    Args:
        events: Events in their order.
        target: CSV or Parquet file, by its ending; ``-`` for CSV on stdout.
        overwrite: Whether a file that exists may be replaced.

    Raises:
        InputError: If the file cannot be written.
    """
    form, written, rest = format_of(target, "csv"), Written(), iter(events)
    with whole(target, form, overwrite) as partial:
        if form == "parquet":
            with pq.ParquetWriter(partial, _SCHEMA) as writer:
                while rows := _rows(rest, written):
                    columns = [list(values) for values in zip(*rows, strict=True)]
                    writer.write_table(pa.table(columns, schema=_SCHEMA))
        else:
            with partial.open("w", encoding="utf-8", newline="") as file:
                file.write(csv_lines([_SCHEMA.names]))
                while rows := _rows(rest, written):
                    file.write(csv_lines(rows))
    return written


def _rows(events: Iterable[StoredEventOut], written: Written) -> list[tuple[Any, ...]]:
    """Return the next rows, and count them."""
    rows = []
    for event in itertools.islice(events, _ROWS):
        at = event.received if event.timestamp is None else event.timestamp
        rows.append((event.user_id, event.item_id, event.label, int(at)))
        written.events += 1
        written.without_label += event.label is None
        written.last = event.sequence
    return rows
