"""Scored frames: pairs of users and items in any frame, and the same frame with a column more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrec_peft.custom.cells import id_texts
from llmrec_peft.custom.frames import as_arrow
from llmrec_peft.custom.guess import listed
from llmrec_peft.custom.words import is_id, strength
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


def pairs_of(frame: Any) -> tuple[pa.Table, list[str], list[str]]:
    """Return a frame as an Arrow table, and the ids of its users and its items.

    Raises:
        InputError: For what is no frame, columns that cannot be told, or an id that is missing.
    """
    table = as_arrow(frame, "score: the frame")
    return table, _ids(table, "user"), _ids(table, "item")


def with_column(frame: Any, table: pa.Table, name: str, values: Any) -> Any:
    """Return a frame of the same kind with a further column; an Arrow table where its kind cannot be made.

    Args:
        frame: What was given.
        table: The same as an Arrow table.
        name: Name of the column, which is replaced if it is there.
        values: Its values, an array [n].
    """
    import pyarrow as pa
    from datasets import Dataset

    column = pa.array(values)
    at = table.schema.get_field_index(name)
    wider = table.append_column(name, column) if at < 0 else table.set_column(at, name, column)
    library = type(frame).__module__.split(".")[0]
    if library == "pandas":
        return frame.assign(**{name: values})
    if isinstance(frame, Dataset):
        return Dataset(wider)
    if isinstance(frame, pa.RecordBatch):
        return wider.combine_chunks().to_batches()[0] if len(wider) else wider
    if isinstance(frame, dict):
        return {**frame, name: values.tolist()}
    if library == "polars":
        return type(frame)(wider)
    return wider


def _ids(table: pa.Table, kind: str) -> list[str]:
    """Return the ids of users or items."""
    named = [name for name in table.column_names if strength(name, kind)]
    best = max(named, key=lambda name: (strength(name, kind), is_id(name)), default=None)
    if best is None:
        raise InputError(
            f"score: which column has the {kind}s? Call it {kind}_id; there are {listed(table.column_names)}"
        )
    values = id_texts(table.column(best), f"score: column {best!r}")
    if values.null_count:
        raise InputError(f"score: {values.null_count} rows have no {kind} in column {best!r}")
    texts: list[str] = values.to_pylist()
    return texts
