"""RecDataset: interactions, items, users and a knowledge graph as Arrow tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features

Feedback = Literal["rating", "click", "implicit"]
"""Meaning of a label: stars on a scale, 1 or 0 for liked or not, or 1 for every interaction."""


@dataclass(frozen=True)
class KnowledgeGraph:
    """Triples over entities, and which entity represents which item.

    Attributes:
        triples: Columns ``head``, ``relation``, ``tail`` (strings).
        links: Columns ``item_id``, ``entity_id`` (strings).
    """

    triples: Dataset
    links: Dataset


@dataclass(frozen=True)
class RecDataset:
    """One dataset as its reader returns it, before it is numbered and split.

    Attributes:
        name: Name of the data in reports.
        interactions: Columns ``user_id``, ``item_id`` (strings), ``rating`` (float32), ``timestamp``
            (int64, seconds, or any order), ``part`` (``train``, ``valid`` or ``test`` where the owner divides
            the data, else empty), ``history`` (item ids, oldest first) and ``history_rating`` (their labels) if the
                owner gives each record's history, ``kind`` if the owner groups records (such as ``warm`` and
                ``cold``),
            ``person`` if several users are records of one person (whole persons are then resampled for intervals),
            and ``review`` if users write reviews.
        items: Column ``item_id``, ``title``, and whatever the text views and `features` may name; None is missing.
        users: Column ``user_id`` and all other columns that describe users.
        rating_range: Lowest and highest label that the owner's scale allows.
        graph: Knowledge graph, if there is one.
        licence: What may be done with the data, in one line.
        notes: What the reader changed or left out (duplicates and the like), one line each.
        feedback: Meaning of a label.
        repeats: Whether users interact with an item several times (sequences of purchases); otherwise only the last
            label of each pair is kept.
    """

    name: str
    interactions: Dataset
    items: Dataset
    users: Dataset
    rating_range: tuple[float, float]
    graph: KnowledgeGraph | None = None
    licence: str = ""
    notes: tuple[str, ...] = ()
    feedback: Feedback = "rating"
    repeats: bool = False

    @property
    def gives_histories(self) -> bool:
        """Whether the owner gives each record's history."""
        return "history" in self.interactions.column_names


def arrow(table: Dataset) -> pa.Table:
    """Return all rows as an Arrow table."""
    whole: pa.Table = table.data.table if table._indices is None else table.with_format("arrow")[:]
    return whole  # `with_format` takes a millisecond, for a fingerprint that nobody reads


def column(table: Dataset, name: str) -> list[Any]:
    """Return one column as a list, straight from Arrow: a `Dataset` yields its values one by one, slowly."""
    values: list[Any] = arrow(table).column(name).to_pylist()
    return values


def numbers(table: Dataset, name: str) -> NDArray[Any]:
    """Return one numeric column as an array [n], straight from Arrow."""
    values = arrow(table).column(name)
    return np.asarray(values.to_pylist()) if values.null_count else np.asarray(values.to_numpy())


def columns(table: Dataset) -> dict[str, list[Any]]:
    """Return all columns as lists, straight from Arrow."""
    values: dict[str, list[Any]] = arrow(table).to_pydict()
    return values


def rows(table: Dataset) -> list[dict[str, Any]]:
    """Return all rows as mappings, made from whole columns: a `Dataset` yields its rows one by one, slowly."""
    named = columns(table)
    return [dict(zip(named, values, strict=True)) for values in zip(*named.values(), strict=True)]


def titles(items: Dataset) -> list[str]:
    """Return the title of each item, empty where it is missing."""
    return ["" if title is None else str(title) for title in column(items, "title")]


def selected(table: Dataset, chosen: NDArray[np.int64]) -> Dataset:
    """Return some rows as a table of their own: `Dataset.select` leaves an index that slows every later read."""
    from datasets import Dataset

    return Dataset(arrow(table).take(chosen), info=table.info)


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
    from datasets import Dataset

    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"columns of a table differ in length: {lengths}")
    try:
        return Dataset.from_dict(columns, features=features)
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


def without_duplicates(dataset: RecDataset) -> RecDataset:
    """Keep the newest label of each user-item pair, at equal times the last one, and note how many were dropped.

    If the owner splits the data, a pair in two parts is kept: the leakage check reports it.

    Raises:
        InputError: If nothing is left to learn from.
    """
    if len(dataset.interactions) == 0:
        raise InputError(f"{dataset.name}: there are no interactions")
    if dataset.repeats:
        return dataset
    last = _last_of_each(dataset.interactions, ("user_id", "item_id", "part"))
    dropped = len(dataset.interactions) - len(last)
    if dropped == 0:
        return dataset
    kept = selected(dataset.interactions, last)
    pairs = "pair" if dropped == 1 else "pairs"
    time = numbers(dataset.interactions, "timestamp")
    which = "newest rating" if (time != time[0]).any() else "last rating of the file (no times are known)"
    note = f"{dropped} duplicate user-item {pairs}: the {which} of each was kept"
    return replace(dataset, interactions=kept, notes=(*dataset.notes, note))


def numbered(table: Dataset, name: str, names: Sequence[str], start: int = 1) -> NDArray[np.int64]:
    """Place of each value of a text column among some names, counted from `start`, int64 [n].

    Values that are no such name come out one below `start`.
    """
    import pyarrow as pa
    from pyarrow import compute

    values = arrow(table).column(name)
    places = compute.index_in(values, value_set=pa.array(names, values.type)).fill_null(-1)
    return np.asarray(places.to_numpy(), np.int64) + start


def _last_of_each(table: Dataset, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the newest row of each combination of some columns, the last of those of one time, in order."""
    number, size = np.zeros(len(table), np.int64), 1
    for name in names:
        values = arrow(table).column(name).combine_chunks().dictionary_encode("encode")
        if size * len(values.dictionary) > np.iinfo(np.int64).max:
            number = np.unique(number, return_inverse=True)[1]
            size = len(table)
        number = number * len(values.dictionary) + values.indices.to_numpy()
        size *= len(values.dictionary)
    order = np.lexsort((numbers(table, "timestamp"), number))  # stable: rows of one time keep their order
    last = np.append(number[order][1:] != number[order][:-1], True)
    return np.sort(order[last])
