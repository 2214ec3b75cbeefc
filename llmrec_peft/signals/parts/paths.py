"""Paths: how an item is connected with others through a knowledge graph, and what each connection counts."""

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
        entity: What stands beside both.
        relation: Relation between the entity and the item.
    """

    other: int
    other_relation: int
    entity: int
    relation: int


@dataclass(frozen=True)
class Contributions:
    """What each neighbour adds to items' offsets and vectors, exactly: summed over neighbours they are the signal's.

    Attributes:
        relation: Relation of each neighbour, int64 [B, n]; 0 where there is none.
        entity: Entity of each neighbour, int64 [B, n]; 0 where there is none.
        offset: What it adds to the offset, float32 [B, n].
        vector: What it adds to the vector, float32 [B, n, dim]; None where neighbours shape no vectors.
        own: What the item's own place adds to the vector, float32 [B, dim]; None where it has none.
    """

    relation: Tensor
    entity: Tensor
    offset: Tensor
    vector: Tensor | None
    own: Tensor | None


def shared(neighbours: Sequence[tuple[int, int]], others: Mapping[int, Sequence[tuple[int, int]]]) -> list[Path]:
    """Paths of two steps between an item and others, in the order of the item's neighbours, then of the others.

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
