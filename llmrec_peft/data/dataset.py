"""RecDataset: interactions, items, users and a knowledge graph as Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

# readers of others import the two from here
from llmrec_peft.data.order import among, in_time
from llmrec_peft.data.tables import dataset_of
from llmrec_peft.data.tables import interactions_table as interactions_table  # noqa: PLC0414
from llmrec_peft.data.tables import table as table  # noqa: PLC0414
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

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
            owner gives each record's history, ``kind`` if the owner groups records (such as ``warm`` and ``cold``),
            ``person`` if several users are records of one person (whole persons are then resampled for intervals),
            ``impression`` if items were shown in lists that users clicked in (clicks are then also measured by list),
            ``confidence`` (float32, not negative) if it is known how often or how long each happened,
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
        brought_by: For each column that the data lacks but could have, or ``graph`` or ``user_links``, the file that
            would bring it.
        user_links: Columns ``user_id`` and ``other_id``: whom each user trusts, follows or is a friend of. They are
            about people: no run folder holds them.
        items_are_users: Whether items are people: the item of an id is the user of that id. Nobody is ranked for
            himself, and a pair of people that is held out must not be learnt the other way round.
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
    brought_by: Mapping[str, str] = field(default_factory=dict)
    user_links: Dataset | None = None
    items_are_users: bool = False

    def with_files(self, message: str, *names: str) -> str:
        """Return a message about what the data lacks, with the files that would bring it.

        Args:
            message: The message; columns are looked for that it names in quotation marks.
            names: Further names of what is lacking.
        """
        named = [name for name in self.brought_by if name in names or repr(name) in message]
        return message + "".join(f"; {name} would come from {self.brought_by[name]}" for name in named)

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


def titles(items: Dataset) -> list[str]:
    """Return the title of each item, empty where it is missing."""
    return ["" if title is None else str(title) for title in column(items, "title")]


def selected(table: Dataset, chosen: NDArray[np.int64]) -> Dataset:
    """Return some rows as a table of their own: `Dataset.select` leaves an index that slows every later read."""
    return dataset_of(arrow(table).take(chosen), table.info)


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
    if last is None:
        return dataset
    dropped = len(dataset.interactions) - len(last)
    kept = selected(dataset.interactions, last)
    pairs = "pair" if dropped == 1 else "pairs"
    time = numbers(dataset.interactions, "timestamp")
    which = "newest rating" if (time != time[0]).any() else "last rating of the file (no times are known)"
    note = f"{dropped} duplicate user-item {pairs}: the {which} of each was kept"
    return replace(dataset, interactions=kept, notes=(*dataset.notes, note))


def numbered(table: Dataset, name: str, names: Sequence[str] | pa.ChunkedArray, start: int = 1) -> NDArray[np.int64]:
    """Place of each value of a text column among some names, counted from `start`, int64 [n].

    Values that are no such name come out one below `start`.
    """
    return places_of(arrow(table).column(name), names, start)


def places_of(
    values: pa.Array | pa.ChunkedArray, names: Sequence[str] | pa.ChunkedArray, start: int = 1
) -> NDArray[np.int64]:
    """Place of each text among some names, counted from `start`, int64 [n]; one below `start` where it is none."""
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_null(values.type):  # no value at all, so no type
        values = values.cast(pa.string())
    known = names.cast(values.type) if isinstance(names, pa.ChunkedArray) else pa.array(names, values.type)
    places = compute.index_in(values, value_set=known).fill_null(-1)
    found = np.array(places, np.int64)
    found += start
    return found


def _last_of_each(table: Dataset, names: Sequence[str]) -> NDArray[np.int64] | None:
    """Return the newest row of each combination of some columns, the last of those of one time, in order.

    Returns:
        None where no combination is there twice.
    """
    number = _combined(table, names)
    ordered = np.sort(number)
    again = ordered[1:] == ordered[:-1]
    if not again.any():
        return None
    several = among(number, ordered[1:][again])
    rows = np.flatnonzero(several)
    rows = rows[in_time(number[rows], numbers(table, "timestamp")[rows])]
    last = np.append(number[rows][1:] != number[rows][:-1], True)
    several[rows[last]] = False
    return np.flatnonzero(~several)


def _combined(table: Dataset, names: Sequence[str]) -> NDArray[np.int64]:
    """Return one number for each combination of some columns of texts, int64 [n]."""
    from pyarrow import compute

    number, size = np.zeros(len(table), np.int64), 1
    for name in names:
        values = arrow(table).column(name)
        known = compute.unique(values)
        if size * len(known) > np.iinfo(np.int64).max:
            number = np.unique(number, return_inverse=True)[1]
            size = len(table)
        number *= len(known)
        number += compute.index_in(values, value_set=known).to_numpy()
        size *= len(known)
    return number
