"""Neighbours: the entities around each item of a knowledge graph, numbered."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.dataset import KnowledgeGraph, column
from llmrec_peft.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Neighbours:
    """For each item the distinct (relation, entity) pairs around it, padded to the longest list.

    Attributes:
        relation: Relation indices from 1, 0 for no neighbour, int64 [num_items, width].
        entity: Entity indices from 1, 0 for no neighbour, int64 [num_items, width].
        relations: Names of relations in index order.
        entities: Names of entities in index order.
    """

    relation: NDArray[np.int64]
    entity: NDArray[np.int64]
    relations: tuple[str, ...]
    entities: tuple[str, ...]

    @classmethod
    def of(cls, graph: KnowledgeGraph, vocabulary: Vocabulary, min_items: int = 2, width: int = 32) -> Neighbours:
        """Number the neighbours of every item.

        Graphs often contain each fact twice, as a relation and its inverse. So triples that start at the item are
        preferred; those that end at it are read (as ``inverse of ...``) only for entities that no triple from the item
        reaches.

        Args:
            graph: Triples and links.
            vocabulary: Numbers of items.
            min_items: Items that an entity must be connected with; rarer ones connect no items and are left out.
            width: Neighbours kept per item; the rarest entities first, since they are the most specific.
        """
        outward, inward = _around(graph)
        around: dict[str, list[tuple[str, str]]] = {}
        for item in sorted(outward.keys() | inward.keys()):
            started = {entity for _, entity in outward[item]}
            around[item] = [*outward[item], *(row for row in inward[item] if row[1] not in started)]
        beside: dict[str, int] = defaultdict(int)
        for rows in around.values():
            for entity in {entity for _, entity in rows}:
                beside[entity] += 1
        kept = sorted(entity for entity, items in beside.items() if items >= min_items)
        entity_index = {entity: index for index, entity in enumerate(kept, start=1)}
        pairs = {item: [row for row in rows if row[1] in entity_index] for item, rows in around.items()}
        relations = sorted({relation for rows in pairs.values() for relation, _ in rows})
        relation_index = {relation: index for index, relation in enumerate(relations, start=1)}
        relation_table = np.zeros((vocabulary.num_items, width), np.int64)
        entity_table = np.zeros((vocabulary.num_items, width), np.int64)
        for item, index in zip(vocabulary.items, vocabulary.item_indices(vocabulary.items), strict=True):
            rows = sorted(pairs.get(item, ()), key=lambda row: (beside[row[1]], row))[:width]
            relation_table[index, : len(rows)] = [relation_index[relation] for relation, _ in rows]
            entity_table[index, : len(rows)] = [entity_index[entity] for _, entity in rows]
        used = max(1, int((entity_table > 0).sum(1).max(initial=0)))
        return cls(relation_table[:, :used], entity_table[:, :used], tuple(relations), tuple(kept))


def _around(graph: KnowledgeGraph) -> tuple[dict[str, set[tuple[str, str]]], dict[str, set[tuple[str, str]]]]:
    """Return the (relation, entity) pairs of triples that start at each item, and of those that end at it."""
    items_of: dict[str, list[str]] = defaultdict(list)  # an owner may list one film under two ids
    for item, entity in zip(column(graph.links, "item_id"), column(graph.links, "entity_id"), strict=True):
        items_of[entity].append(item)
    outward: dict[str, set[tuple[str, str]]] = defaultdict(set)
    inward: dict[str, set[tuple[str, str]]] = defaultdict(set)
    columns = (column(graph.triples, "head"), column(graph.triples, "relation"), column(graph.triples, "tail"))
    for head, relation, tail in zip(*columns, strict=True):
        for item in items_of.get(head, ()):
            outward[item].add((relation, tail))
        for item in items_of.get(tail, ()):
            inward[item].add((f"inverse of {relation}", head))
    return outward, inward
