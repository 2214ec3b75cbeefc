"""Tables: what readers make of columns; values of a wrong type are refused with their place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.typed_columns import is_arrow, number_column, text_column
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetInfo


def dataset_of(rows: pa.Table, info: DatasetInfo | None = None) -> Dataset:
    """Return an Arrow table as a `datasets.Dataset`, without a copy.

    `Dataset` asked for without a fingerprint makes one by pickling all rows: at ten million interactions 1.4 GiB and a
    second, for a number that only `Dataset.map` would read.
    """
    from datasets import Dataset
    from datasets.fingerprint import generate_random_fingerprint

    return Dataset(rows, info=info, fingerprint=generate_random_fingerprint())


def table(columns: Mapping[str, Sequence[Any]]) -> Dataset:
    """Make an Arrow table of items, users or triples.

    Args:
        columns: Values by column, as lists or Arrow, all of one length and each of one type; identifiers are strings.
            What is missing is None; NaN in a list becomes None.

    Returns:
        A `datasets.Dataset`.

    Raises:
        InputError: Naming the column whose values are of several types.
    """
    import pyarrow as pa
    from datasets import Dataset

    whole = {name: values if is_arrow(values) else _with_none(values) for name, values in columns.items()}
    _require_one_length(whole)
    with _said_of(whole):
        if whole and all(map(is_arrow, whole.values())):
            return dataset_of(pa.table(whole))
        return Dataset.from_dict(whole)


def interactions_table(
    user_id: Sequence[str] | pa.Array | pa.ChunkedArray,
    item_id: Sequence[str] | pa.Array | pa.ChunkedArray,
    rating: Sequence[float] | NDArray[Any] | pa.Array | pa.ChunkedArray,
    timestamp: Sequence[int] | NDArray[Any] | pa.Array | pa.ChunkedArray,
    part: Sequence[str] | pa.Array | pa.ChunkedArray | None = None,
    history: Sequence[Sequence[str]] | pa.Array | pa.ChunkedArray | None = None,
    history_rating: Sequence[Sequence[float]] | pa.Array | pa.ChunkedArray | None = None,
    kind: Sequence[str] | pa.Array | pa.ChunkedArray | None = None,
    review: Sequence[str] | pa.Array | pa.ChunkedArray | None = None,
    person: Sequence[str] | pa.Array | pa.ChunkedArray | None = None,
    impression: Sequence[str] | pa.Array | pa.ChunkedArray | None = None,
    confidence: Sequence[float] | NDArray[Any] | pa.Array | pa.ChunkedArray | None = None,
) -> Dataset:
    """Make the interactions table with the column types that `RecDataset` promises.

    Arrow columns are taken as they are and arrays of numpy with one look at all of their numbers; of lists every value
    is looked at. So a large table comes in as Arrow.

    Args:
        user_id: User of each interaction, [n].
        item_id: Its item.
        rating: Its label: stars, 1 or 0, or always 1.
        timestamp: Its time in seconds, or any number that orders interactions.
        part: ``train``, ``valid`` or ``test`` where the owner divides the data.
        history: Item ids of the user's history, oldest first, if the owner gives each record's history;
            together with `history_rating` or not at all.
        history_rating: Their labels.
        kind: Group of each record, if the owner names such groups (``warm``, ``cold``).
        review: What the user wrote about the item.
        person: Person of each interaction, where several users are records of one person.
        impression: Id of the list of items that each interaction was shown in, where the owner knows such lists.
        confidence: How often or how long each interaction happened (plays, hours), not negative, where that tells how
            sure it is; rankings can weigh by it (`head.confidence_alpha`).

    Returns:
        A `datasets.Dataset` with n rows.

    Raises:
        InputError: Naming the first interaction whose id is no text, whose label is no number, or whose time is no
            whole number.
    """
    import pyarrow as pa
    from datasets import DatasetInfo, Features, List, Value

    kinds: dict[str, Any] = {
        "user_id": Value("string"),
        "item_id": Value("string"),
        "rating": Value("float32"),
        "timestamp": Value("int64"),
        "part": Value("string"),
    }
    columns: dict[str, Any] = {
        "user_id": text_column("user_id", user_id),
        "item_id": text_column("item_id", item_id),
        "rating": number_column("rating", rating, pa.float32()),
        "timestamp": number_column("timestamp", timestamp, pa.int64()),
        "part": pa.repeat(pa.scalar("", pa.string()), len(user_id)) if part is None else part,
    }
    if history is not None and history_rating is not None:
        kinds |= {"history": List(Value("string")), "history_rating": List(Value("float32"))}
        columns |= {"history": _lists(history), "history_rating": _lists(history_rating)}
        if not is_arrow(history):
            text_column("history", [entry for row in history if set(map(type, row)) - {str} for entry in row])
    for name, texts in (("kind", kind), ("review", review), ("person", person), ("impression", impression)):
        if texts is not None:
            kinds[name], columns[name] = Value("string"), texts
    if confidence is not None:
        kinds["confidence"] = Value("float32")
        columns["confidence"] = number_column("confidence", confidence, pa.float32())
    features = Features(kinds)
    _require_one_length(columns)
    with _said_of(columns):
        schema = features.arrow_schema
        arrays = [_brought(columns[name], schema.field(name).type) for name in schema.names]
        return dataset_of(pa.table(arrays, schema=schema), DatasetInfo(features=features))


def _lists(values: Any) -> Any:
    return values if is_arrow(values) else [list(row) for row in values]


def _brought(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Return a column as Arrow of one type."""
    import pyarrow as pa

    if is_arrow(values):
        return values if values.type == kind else values.cast(kind)
    return pa.array(values if isinstance(values, np.ndarray) else list(values), kind)


def _with_none(values: Sequence[Any]) -> list[Any]:
    """Return a column's values with None for NaN and for pandas' marks of missing values."""
    if set(map(type, values)) <= {str, int, bool, list, type(None)}:
        return list(values)
    marks = {"NAType", "NaTType"}  # which are equal to nothing and refuse to be compared
    there = [None if type(value).__name__ in marks else value for value in values]
    return [None if isinstance(value, float | np.floating) and math.isnan(value) else value for value in there]


def _require_one_length(columns: Mapping[str, Any]) -> None:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"columns of a table differ in length: {lengths}")


@contextmanager
def _said_of(columns: Mapping[str, Any]) -> Iterator[None]:
    """Name the column that Arrow cannot hold, where making a table of them fails."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
        wrong = next((name for name, values in columns.items() if not _fits(values)), "/".join(columns))
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"column {wrong!r}: its values are of several types, or too large ({reason})") from None


def _fits(values: Any) -> bool:
    import pyarrow as pa

    try:
        if not is_arrow(values):
            pa.array(values)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return False
    return True
