"""RecDataset: interactions, items, users and a knowledge graph as Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class KnowledgeGraph:
    """Triples over entities, and which entity stands for which item.

    Attributes:
        triples: Columns ``head``, ``relation``, ``tail`` (strings).
        links: Columns ``item_id``, ``entity_id`` (strings).
    """

    triples: Dataset
    links: Dataset


@dataclass(frozen=True)
class RecDataset:
    """One dataset as its reader understood it; nothing is numbered or divided yet.

    Attributes:
        name: What the data is called in reports.
        interactions: Columns ``user_id``, ``item_id`` (strings), ``rating`` (float32), ``timestamp``
            (int64, seconds), ``part`` (``train`` or ``test`` where the owner divides the data, else empty).
        items: Column ``item_id``, ``title``, and whatever the text views may name.
        users: Column ``user_id`` and whatever is known of users.
        rating_range: Lowest and highest rating that the owner's scale allows.
        graph: Knowledge graph, where there is one.
        licence: One line on what may be done with the data.
        notes: What the reader had to put up with (duplicates and the like), one line each.
    """

    name: str
    interactions: Dataset
    items: Dataset
    users: Dataset
    rating_range: tuple[float, float]
    graph: KnowledgeGraph | None = None
    licence: str = ""
    notes: tuple[str, ...] = ()


def column(table: Dataset, name: str) -> list[Any]:
    """One column as a list, straight from Arrow: a `Dataset` yields its values one by one, slowly."""
    arrow = table.with_format("arrow")[:]
    values: list[Any] = arrow.column(name).to_pylist()
    return values


def table(columns: Mapping[str, Sequence[Any]]) -> Dataset:
    """Make an Arrow table through `datasets`, identifiers and texts as strings."""
    from datasets import Dataset

    return Dataset.from_dict({name: list(values) for name, values in columns.items()})


def interactions_table(
    user_id: Sequence[str],
    item_id: Sequence[str],
    rating: Sequence[float],
    timestamp: Sequence[int],
    part: Sequence[str] | None = None,
) -> Dataset:
    """Make the interactions table with the column types that `RecDataset` promises."""
    from datasets import Dataset, Features, Value

    features = Features(
        {
            "user_id": Value("string"),
            "item_id": Value("string"),
            "rating": Value("float32"),
            "timestamp": Value("int64"),
            "part": Value("string"),
        }
    )
    columns = {
        "user_id": list(user_id),
        "item_id": list(item_id),
        "rating": list(rating),
        "timestamp": list(timestamp),
        "part": list(part) if part is not None else [""] * len(user_id),
    }
    return Dataset.from_dict(columns, features=features)


def without_duplicates(dataset: RecDataset) -> RecDataset:
    """Keep the last of several ratings of one item by one user, in file order, and say how many went.

    Raises:
        InputError: When nothing is left to learn from.
    """
    if len(dataset.interactions) == 0:
        raise InputError(f"{dataset.name}: there are no interactions")
    last: dict[tuple[str, str], int] = {}
    for row, pair in enumerate(
        zip(column(dataset.interactions, "user_id"), column(dataset.interactions, "item_id"), strict=True)
    ):
        last[pair] = row
    dropped = len(dataset.interactions) - len(last)
    if dropped == 0:
        return dataset
    kept = dataset.interactions.select(sorted(last.values()))
    pairs = "pair" if dropped == 1 else "pairs"
    note = f"{dropped} duplicate user-item {pairs}: the last rating of each was kept"
    return replace(dataset, interactions=kept, notes=(*dataset.notes, note))
