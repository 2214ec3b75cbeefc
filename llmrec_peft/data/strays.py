"""Strays: interactions, entries of histories and links that name users or items which the tables lack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.dataset import KnowledgeGraph, RecDataset, arrow, numbered, places_of, selected
from llmrec_peft.data.tables import dataset_of


def places(dataset: RecDataset, key: str) -> NDArray[np.int64]:
    """Row, from 1, of each interaction's user or item in its table; 0 for none, [n].

    Args:
        dataset: Data.
        key: ``user_id`` or ``item_id``.
    """
    table = dataset.users if key == "user_id" else dataset.items
    return numbered(dataset.interactions, key, arrow(table).column(key))


def without_unknown(dataset: RecDataset) -> RecDataset:
    """Leave out interactions of users and items that the tables lack, and note how many: for readers that drop them."""
    known = np.ones(len(dataset.interactions), bool)
    for name in ("user_id", "item_id"):
        known &= places(dataset, name) > 0
    dropped = int((~known).sum())
    if not dropped:
        return dataset
    note = f"{dropped} of {len(known)} interactions name users or items that the tables lack: they were left out"
    kept = selected(dataset.interactions, np.flatnonzero(known))
    return replace(dataset, interactions=kept, notes=(*dataset.notes, note))


def with_known_histories(dataset: RecDataset) -> RecDataset:
    """Leave items that the items table lacks out of given histories, and note how many entries that were."""
    if not dataset.gives_histories:
        return dataset
    import pyarrow as pa

    interactions = arrow(dataset.interactions)
    lists = {name: interactions.column(name).combine_chunks() for name in ("history", "history_rating")}
    flat = {name: values.flatten() for name, values in lists.items()}
    known = places_of(flat["history"], arrow(dataset.items).column("item_id")) > 0
    dropped = int((~known).sum())
    if not dropped:
        return dataset
    lengths = np.asarray(lists["history"].value_lengths())
    ends = np.concatenate([[0], np.cumsum(known)])[np.concatenate([[0], np.cumsum(lengths)])]
    for name, values in flat.items():
        kept = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values.filter(pa.array(known)))
        interactions = interactions.set_column(interactions.column_names.index(name), name, kept)
    note = f"{dropped} of {len(known)} entries of histories name items that the items table lacks: they were left out"
    return replace(dataset, interactions=dataset_of(interactions), notes=(*dataset.notes, note))


def with_known_links(dataset: RecDataset) -> RecDataset:
    """Leave out links of the graph to items that the items table lacks, and note how many."""
    graph = dataset.graph
    if graph is None:
        return dataset
    known = numbered(graph.links, "item_id", arrow(dataset.items).column("item_id")) > 0
    dropped = int((~known).sum())
    if not dropped:
        return dataset
    note = f"{dropped} of {len(known)} links of the graph name items that the items table lacks: they were left out"
    links = selected(graph.links, np.flatnonzero(known))
    return replace(dataset, graph=KnowledgeGraph(graph.triples, links), notes=(*dataset.notes, note))


def with_known_user_links(dataset: RecDataset) -> RecDataset:
    """Leave out links between users that name a user whom the users table lacks, and note how many."""
    links = dataset.user_links
    if links is None:
        return dataset
    ids = arrow(dataset.users).column("user_id")
    known = (numbered(links, "user_id", ids) > 0) & (numbered(links, "other_id", ids) > 0)
    dropped = int((~known).sum())
    if not dropped:
        return dataset
    note = f"{dropped} of {len(known)} links between users name users that the users table lacks: they were left out"
    return replace(dataset, user_links=selected(links, np.flatnonzero(known)), notes=(*dataset.notes, note))
