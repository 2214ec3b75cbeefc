"""Tables: what readers make of columns; values of a wrong type are refused with their place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset, Features


def table(columns: Mapping[str, Sequence[Any]]) -> Dataset:
    """Make an Arrow table of items, users or triples.

    Args:
        columns: Values by column, all of one length and each of one type; identifiers are strings. What is missing is
            None; NaN becomes None.

    Returns:
        A `datasets.Dataset`.

    Raises:
        InputError: Naming the column whose values are of several types.
    """
    return _made({name: _with_none(values) for name, values in columns.items()})


def interactions_table(
    user_id: Sequence[str],
    item_id: Sequence[str],
    rating: Sequence[float],
    timestamp: Sequence[int],
    part: Sequence[str] | None = None,
    history: Sequence[Sequence[str]] | None = None,
    history_rating: Sequence[Sequence[float]] | None = None,
    kind: Sequence[str] | None = None,
    review: Sequence[str] | None = None,
    person: Sequence[str] | None = None,
) -> Dataset:
    """Make the interactions table with the column types that `RecDataset` promises.

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

    Returns:
        A `datasets.Dataset` with n rows.

    Raises:
        InputError: Naming the first interaction whose id is no text, whose label is no number, or whose time is no
            whole number.
    """
    from datasets import Features, List, Value

    _require_texts("user_id", user_id)
    _require_texts("item_id", item_id)
    _require_numbers("rating", rating)
    _require_numbers("timestamp", timestamp, whole=True)
    types: dict[str, Any] = {
        "user_id": Value("string"),
        "item_id": Value("string"),
        "rating": Value("float32"),
        "timestamp": Value("int64"),
        "part": Value("string"),
    }
    columns: dict[str, list[Any]] = {
        "user_id": list(user_id),
        "item_id": list(item_id),
        "rating": list(rating),
        "timestamp": list(timestamp),
        "part": list(part) if part is not None else [""] * len(user_id),
    }
    if history is not None and history_rating is not None:
        types |= {"history": List(Value("string")), "history_rating": List(Value("float32"))}
        _require_texts("history", [entry for row in history if not _all_texts(row) for entry in row])
        columns |= {"history": [list(row) for row in history], "history_rating": [list(row) for row in history_rating]}
    for name, texts in (("kind", kind), ("review", review), ("person", person)):
        if texts is not None:
            types[name], columns[name] = Value("string"), list(texts)
    return _made(columns, Features(types))


def _with_none(values: Sequence[Any]) -> list[Any]:
    """Return a column's values with None for NaN and for pandas' marks of missing values."""
    if set(map(type, values)) <= {str, int, bool, list, type(None)}:
        return list(values)
    marks = {"NAType", "NaTType"}  # which are equal to nothing and refuse to be compared
    there = [None if type(value).__name__ in marks else value for value in values]
    return [None if isinstance(value, float | np.floating) and math.isnan(value) else value for value in there]


def _made(columns: dict[str, list[Any]], features: Features | None = None) -> Dataset:
    """Make a table.

    Raises:
        InputError: Naming a column whose values are of several types, or that Arrow cannot hold.
    """
    import pyarrow as pa
    from datasets import Dataset, DatasetInfo

    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"columns of a table differ in length: {lengths}")
    try:
        if features is not None:  # the types are known: `from_dict` would look at every value once more, in Python
            schema = features.arrow_schema
            arrays = [pa.array(columns[name], schema.field(name).type) for name in schema.names]
            return Dataset(pa.table(arrays, schema=schema), info=DatasetInfo(features=features))
        return Dataset.from_dict(columns)
    except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
        wrong = next((name for name, values in columns.items() if not _fits(values)), "/".join(columns))
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"column {wrong!r}: its values are of several types, or too large ({reason})") from None


def _fits(values: list[Any]) -> bool:
    import pyarrow as pa

    try:
        pa.array(values)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return False
    return True


def _require_texts(name: str, values: Sequence[Any]) -> None:
    """Refuse ids that are no texts: Arrow would write 1.0 for one and nan for a missing one."""
    if _all_texts(values):
        return
    at, value = next((at, value) for at, value in enumerate(values) if not isinstance(value, str))
    raise InputError(
        f'interactions: {name} {at} is {value!r:.40} of type {type(value).__name__}; ids are texts, such as "00501"'
    )


def _all_texts(values: Sequence[Any]) -> bool:
    return all(issubclass(kind, str) for kind in set(map(type, values)))


def _require_numbers(name: str, values: Sequence[Any], whole: bool = False) -> None:
    """Refuse values that are no numbers, or with `whole` no whole numbers of 64 bits."""
    expected = "a whole number of 64 bits" if whole else "a number"
    found = np.asarray(values) if len(values) else np.zeros(0)
    if found.dtype.kind in "iu" and found.max(initial=0) < 1 << 63:
        return
    if found.dtype.kind == "f" and (not whole or bool((np.isfinite(found) & (found == np.floor(found))).all())):
        return
    for at, value in enumerate(values):
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        fits = number and (not whole or (value == value and abs(value) < 1 << 63 and value == int(value)))  # noqa: PLR0124
        if not fits:
            raise InputError(f"interactions: {name} {at} is {value!r:.40} where {expected} belongs")
