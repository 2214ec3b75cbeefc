"""Missing values in the columns that describe items and users: None, whatever the reader's table has for them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from llmrec_peft.data.dataset import RecDataset, arrow
from llmrec_peft.data.tables import dataset_of
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def with_none(dataset: RecDataset, name: str) -> Dataset:
    """Return a table whose missing values are None: NaN becomes it, and lists lose theirs.

    Raises:
        InputError: For an infinite number.
    """
    import pyarrow as pa
    from pyarrow import compute, types

    table: Dataset = getattr(dataset, name)
    kept = whole = arrow(table)
    for at, key in enumerate(whole.column_names):
        values = whole.column(key)
        if types.is_floating(values.type):
            infinite = compute.is_inf(values).fill_null(False)
            if compute.any(infinite).as_py():
                row = compute.index(infinite, True).as_py()
                raise InputError(f"{dataset.name}: {key} in row {row} of {name} is infinite")
            nan = compute.is_nan(values).fill_null(False)
            if compute.any(nan).as_py():
                kept = kept.set_column(at, key, compute.if_else(nan, pa.scalar(None, values.type), values))
        elif types.is_nested(values.type) and not _is_whole(values):
            cleaned = [_cleaned(value) for value in values.to_pylist()]
            kept = kept.set_column(at, key, pa.array(cleaned, values.type))
    return table if kept is whole else dataset_of(kept)


def _is_whole(values: pa.ChunkedArray) -> bool:
    """Return whether no entry of a column of lists is missing; False where it takes a look at each value to know."""
    from pyarrow import compute, types

    kind = values.type
    if not (types.is_list(kind) or types.is_large_list(kind)) or types.is_nested(kind.value_type):
        return False
    entries = compute.list_flatten(values)
    nan = types.is_floating(kind.value_type) and compute.any(compute.is_nan(entries)).as_py()
    return entries.null_count == 0 and not nan


def _cleaned(value: Any) -> Any:
    """Return a nested value with None for NaN, and lists without their missing entries."""
    if isinstance(value, list):
        entries = (_cleaned(entry) for entry in value)
        return [entry for entry in entries if entry is not None]
    if isinstance(value, dict):
        return {key: _cleaned(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
