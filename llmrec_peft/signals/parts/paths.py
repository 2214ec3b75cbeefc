"""Paths: how an item is connected with others through a knowledge graph, and how much each connection adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Path:
    """other ─ other_relation ─ entity ─ relation ─ item, by index.

    Attributes:
        other: Item at the far end.
        other_relation: Relation between it and the entity.
        entity: Entity next to both items.
        relation: Relation between the entity and the item.
    """

    other: int
    other_relation: int
    entity: int
    relation: int


@dataclass(frozen=True)
class Contributions:
    """What each neighbour adds to items' offsets and vectors, exactly: their sums are the signal's offset and vector.

    Attributes:
        relation: Relation of each neighbour, int64 [B, n]; 0 if there is none.
        entity: Entity of each neighbour, int64 [B, n]; 0 if there is none.
        offset: Its term of the offset, float32 [B, n].
        vector: Its term of the vector, float32 [B, n, dim]; None if neighbours do not enter vectors.
        own: The item's own entity vector, float32 [B, dim]; None if it has none.
    """

    relation: Tensor
    entity: Tensor
    offset: Tensor
    vector: Tensor | None
    own: Tensor | None


def shared(neighbours: Sequence[tuple[int, int]], others: Mapping[int, Sequence[tuple[int, int]]]) -> list[Path]:
    """Find the paths of two steps between an item and others, ordered by the item's neighbours, then by the others.

    Args:
        neighbours: (relation, entity) indices around the item.
        others: The same around each other item.

    >>> shared([(1, 5), (2, 7)], {3: [(2, 7)], 4: [(1, 6)]})
    [Path(other=3, other_relation=2, entity=7, relation=2)]
    """
    return [
        Path(other, other_relation, entity, relation)
        for relation, entity in neighbours
        for other, rows in others.items()
        for other_relation, other_entity in rows
        if other_entity == entity
    ]
