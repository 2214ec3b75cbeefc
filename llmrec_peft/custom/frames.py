"""Frames: tables in memory, of whatever library, as Arrow tables; and the reader of recipes made from them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmrec_peft.data.dataset import RecDataset, arrow
from llmrec_peft.data.source import Reader
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.tabular.extension_types import plain_table

if TYPE_CHECKING:
    import pyarrow as pa

_KINDS = "pandas, polars, Arrow, datasets.Dataset, or a dict of lists"


def as_arrow(frame: Any, called: str) -> pa.Table:
    """Return a frame as an Arrow table.

    Args:
        frame: A `pyarrow.Table` or `RecordBatch`, a `datasets.Dataset`, a pandas frame, whatever has Arrow's
            ``__arrow_c_stream__`` or ``__dataframe__`` (polars, DuckDB, …), or a mapping of names to lists.
        called: What messages call it.

    Raises:
        InputError: If it is none of these, or Arrow cannot hold its values.
    """
    import pyarrow as pa

    try:
        return _readable(_converted(frame, called))
    # pyarrow.interchange raises NotImplementedError for a type of column that it does not know, such as durations.
    except (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError) as error:
        raise InputError(f"{called}: a column cannot become a column of Arrow ({reason_of(error)})") from None


def _converted(frame: Any, called: str) -> pa.Table:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict
    from pyarrow.interchange import from_dataframe

    if isinstance(frame, DatasetDict):
        from llmrec_peft.custom.guess import listed

        raise InputError(f"{called} has several parts, {listed(frame)}: give one of them")
    if isinstance(frame, str | Path):
        raise InputError(f"{called}: {str(frame)!r} is a path: llmrec init custom --interactions FILE reads files")
    makers: list[tuple[bool, Callable[[], pa.Table]]] = [
        (isinstance(frame, pa.Table), lambda: frame),
        (isinstance(frame, pa.RecordBatch), lambda: pa.Table.from_batches([frame])),
        (isinstance(frame, Dataset), lambda: arrow(frame)),
        (type(frame).__module__.split(".")[0] == "pandas", lambda: _of_pandas(frame, called)),
        (hasattr(frame, "__arrow_c_stream__"), lambda: pa.table(frame)),
        (hasattr(frame, "__dataframe__"), lambda: from_dataframe(frame)),
        (isinstance(frame, Mapping) and all(isinstance(name, str) for name in frame), lambda: _of_mapping(frame)),
    ]
    make = next((make for fits, make in makers if fits), None)
    if make is None:
        raise InputError(f"{called} is a {type(frame).__name__} where a frame belongs: {_KINDS}")
    return _decodable(make())


def _decodable(table: pa.Table) -> pa.Table:
    """Return a table whose categories are plain texts: Arrow cannot decode those of polars, which are views."""
    import pyarrow as pa

    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type) and field.type.value_type == pa.string_view():
            plain = pa.dictionary(field.type.index_type, pa.string(), field.type.ordered)
            chunks = [
                pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.string()), ordered=plain.ordered)
                for chunk in table.column(at).chunks
            ]
            table = table.set_column(at, field.name, pa.chunked_array(chunks, plain))
    return table


def _of_mapping(frame: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    arrays = (pa.Array, pa.ChunkedArray)
    return pa.table(
        {name: cells if isinstance(cells, arrays) else pa.array(list(cells)) for name, cells in frame.items()}
    )


def _of_pandas(frame: Any, called: str) -> pa.Table:
    """Return a pandas frame without its index; a named index, as `groupby` leaves it, is columns."""
    import pyarrow as pa

    from llmrec_peft.custom.guess import require_distinct_names

    if not hasattr(frame, "columns"):
        raise InputError(f"{called} is a pandas {type(frame).__name__} where a DataFrame belongs: to_frame() makes one")
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    frame = frame.rename(columns=str)
    require_distinct_names(frame.columns, called)
    try:
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # columns of objects of several types, such as "007" beside 7
        mixed = {name: frame[name].map(_text) for name in frame.columns if frame[name].dtype == object}
        return pa.Table.from_pandas(frame.assign(**mixed), preserve_index=False).replace_schema_metadata(None)


def _text(value: Any) -> str | None:
    """Return a value as text; 7.0, which pandas makes of 7 beside a missing value, is the id 7."""
    if isinstance(value, float | np.floating):
        if np.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else str(value)
    return None if value is None or type(value).__name__ in ("NAType", "NaTType") else str(value)


def _readable(table: pa.Table) -> pa.Table:
    """Return a table of plain types: UUIDs are texts, and bytes too where they are UTF-8, as some Parquet has them."""
    import pyarrow as pa

    table = plain_table(table)
    for at, field in enumerate(table.schema):
        values = table.column(at)
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            with contextlib.suppress(pa.ArrowInvalid):
                table = table.set_column(at, field.name, values.cast(pa.string()))
    return table


class Frames(Reader):
    """Data that is handed over in Python: ``llmrec_peft.train(recipe, data)`` with a `llmrec_peft.Dataset`.

    A recipe of this reader comes from `llmrec_peft.Dataset.recipe`. It names no folder; whoever trains or evaluates it
    hands the data over.
    """

    summary: ClassVar[str] = "frames handed over in Python: llmrec_peft.train(recipe, data)"
    takes_path: ClassVar[bool] = False

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Refuse: there is nothing to read.

        Raises:
            InputError: Saying how the data is handed over.
        """
        raise InputError(self.no_path("frames"))

    def demo(self, seed: int) -> RecDataset:
        """Refuse: nothing is made up.

        Raises:
            InputError: Saying how the data is handed over.
        """
        raise InputError(self.no_path("frames"))

    def no_path(self, name: str) -> str:
        """Say how the data is handed over."""
        return (
            "data.reader: frames reads no files: hand the data over in Python, llmrec_peft.train(recipe, data) or"
            " evaluate(run, data) with a llmrec_peft.Dataset; llmrec init custom makes a recipe of files"
        )
