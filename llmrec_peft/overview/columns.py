"""Columns described: how many rows of users and items have a value in each, and how many distinct ones there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrec_peft.data.dataset import arrow

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

_MOST = 200
"""Columns that are described; a table of a stranger's may have any number."""


def describe_columns(table: Dataset) -> list[dict[str, Any]]:
    """Describe the columns of a table: name, type, share of rows with a value, distinct values.

    An empty text and an empty list are no value and are not counted among the distinct ones. Distinct values of lists
    are those of their entries.
    """
    whole = arrow(table)
    return [{"name": name, **_described(whole.column(name), len(whole))} for name in whole.column_names[:_MOST]]


def _described(values: pa.ChunkedArray, rows: int) -> dict[str, Any]:
    from pyarrow import compute, types

    kind = values.type
    lists = types.is_list(kind) or types.is_large_list(kind)
    if lists:
        there, inside = compute.greater(compute.list_value_length(values), 0), compute.list_flatten(values)
    elif types.is_string(kind) or types.is_large_string(kind):
        there = compute.greater(compute.binary_length(values), 0)
        inside = values.filter(there)
    else:
        there, inside = compute.is_valid(values), values
    filled = int(compute.sum(there).as_py() or 0)
    nested = types.is_nested(inside.type)  # what lies deeper has no distinct values that Arrow counts
    return {
        "type": f"list of {kind.value_type}" if lists else str(kind),
        "filled": filled,
        "share": round(filled / rows, 4) if rows else 0.0,
        "distinct": None if nested else int(compute.count_distinct(inside).as_py()),
    }
