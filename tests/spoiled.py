"""What a stranger may do to the files of a run folder: tensors and tables changed, and the manifest made true again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import load_file, save_file
from torch import Tensor

Tensors = dict[str, Tensor]


def change_tensors(path: Path, change: Callable[[Tensors], Tensors]) -> None:
    """Write a safetensors file again with other tensors."""
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    changed = {name: tensor.contiguous().clone() for name, tensor in change(tensors).items()}
    save_file(changed, path, metadata=metadata)


def change_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write a Parquet file again with another table."""
    pq.write_table(change(pq.read_table(path)), path)


def with_column(table: pa.Table, name: str, values: object) -> pa.Table:
    """Return a table with another column in the place of one."""
    return table.set_column(table.column_names.index(name), name, pa.array(values))  # type: ignore[arg-type]
