"""Subset: a dataset with fewer items, so that a slow model can be tried on real data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmrec_peft.data.dataset import RecDataset, arrow, numbered, selected
from llmrec_peft.data.strays import with_known_histories


def with_fewer_items(dataset: RecDataset, count: int, seed: int) -> RecDataset:
    """Keep at most `count` items, drawn at random, with their interactions, history entries and graph links.

    All users stay, also those without any interaction left.

    Args:
        dataset: Data to draw from.
        count: Items kept at most, at least 1.
        seed: Seed of the draw.
    """
    ids = arrow(dataset.items).column("item_id")
    if len(ids) <= count:
        return dataset
    rows = np.sort(np.random.default_rng(seed).permutation(len(ids))[:count])
    kept = ids.take(rows)
    graph = dataset.graph
    if graph is not None:
        linked = numbered(graph.links, "item_id", kept) > 0
        graph = replace(graph, links=selected(graph.links, np.flatnonzero(linked)))
    rated = numbered(dataset.interactions, "item_id", kept) > 0
    note = f"{count} of {len(ids)} items were drawn, with {int(rated.sum())} of {len(rated)} interactions"
    fewer = replace(
        dataset,
        items=selected(dataset.items, rows),
        interactions=selected(dataset.interactions, np.flatnonzero(rated)),
        graph=graph,
        notes=(*dataset.notes, note),
    )
    return with_known_histories(fewer)
