"""Joined: several datasets of one reader, in the order in which they came, as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from llmrec_peft.data.dataset import KnowledgeGraph, RecDataset, arrow, column
from llmrec_peft.data.tables import dataset_of
from llmrec_peft.errors import InputError, reason_of

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

_ROW = ["user_id", "item_id", "rating", "timestamp"]
"""What two rows share that tell of one interaction."""


def joined(datasets: Sequence[RecDataset]) -> RecDataset:
    """Join datasets that one reader read, such as what came in January and what came in February.

    An interaction that several of them hold is taken once, from the first; rows that one of them repeats stay. Users
    and items are described by the last one that has them. Columns of interactions that not all have are left out.

    Args:
        datasets: At least one, oldest first, each as `llmrec_peft.data.soundness.sound` returns it.

    Raises:
        InputError: If they have labels of different meanings, or columns of one name and different types.
    """
    *earlier, last = datasets
    if not earlier:
        return last
    for one in earlier:
        if (one.feedback, one.repeats, one.items_are_users) != (last.feedback, last.repeats, last.items_are_users):
            raise InputError(f"{last.name}: its labels mean something else than those of {one.name}")
    graphs = [one.graph for one in datasets if one.graph is not None]
    links = [one.user_links for one in datasets if one.user_links is not None]
    ranges = [one.rating_range for one in datasets]
    return replace(
        last,
        interactions=_interactions([arrow(one.interactions) for one in datasets]),
        items=_newest([one.items for one in datasets], "item_id"),
        users=_newest([one.users for one in datasets], "user_id"),
        rating_range=(min(low for low, _ in ranges), max(high for _, high in ranges)),
        graph=_graph(graphs) if graphs else None,
        user_links=_once(links) if links else None,
        notes=tuple(dict.fromkeys(note for one in datasets for note in one.notes)),
    )


def _interactions(tables: Sequence[pa.Table]) -> Dataset:
    """Return the rows of all tables, each without those that an earlier one has."""
    shared = [name for name in tables[0].column_names if all(name in one.column_names for one in tables)]
    found = tables[0].select(shared)
    for table in tables[1:]:
        found = _together([found, _without(table, found).select(shared)])
    return dataset_of(found)


def _without(table: pa.Table, known: pa.Table) -> pa.Table:
    """Return the rows of a table whose interaction is not among the known ones, in their order."""
    import pyarrow as pa

    place = pa.array(range(len(table)), pa.int64())
    left = table.select(_ROW).append_column("place", place).join(known.select(_ROW), _ROW, join_type="left anti")
    return table.take(left.column("place").sort())


def _newest(tables: Sequence[Dataset], key: str) -> Dataset:
    """Return one row for each id, the last one; ids are in the order in which they came first."""
    whole = _together([arrow(one) for one in tables])
    last = {one: row for row, one in enumerate(one for table in tables for one in column(table, key))}
    return dataset_of(whole.take(list(last.values())))


def _graph(graphs: Sequence[KnowledgeGraph]) -> KnowledgeGraph:
    return KnowledgeGraph(_once([one.triples for one in graphs]), _once([one.links for one in graphs]))


def _once(tables: Iterable[Dataset]) -> Dataset:
    """Return the rows of all tables, each distinct one once."""
    whole = _together([arrow(one) for one in tables])
    return dataset_of(whole.group_by(whole.column_names, use_threads=False).aggregate([]))


def _together(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of all tables; columns that some lack are empty there.

    Raises:
        InputError: If columns of one name have different types.
    """
    import pyarrow as pa

    try:
        return pa.concat_tables([one.replace_schema_metadata() for one in tables], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"the columns differ from those of what came before: {reason_of(error)}") from None
