"""Triples: losses of a knowledge graph's true triples against corrupted ones, by TransE or DistMult."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TRIPLES = 8192
"""Triples per step at most, drawn from those of its items."""


@dataclass(frozen=True)
class Triples:
    """True triples around items, each with a corrupted one.

    Attributes:
        item: Item indices, int64 [n].
        relation: Relation indices, int64 [n].
        entity: Entity indices, int64 [n].
        corrupted: Entities that do not stand in that relation to the item, int64 [n].
    """

    item: Tensor
    relation: Tensor
    entity: Tensor
    corrupted: Tensor


def sampled(items: Tensor, relation: Tensor, entity: Tensor, num_entities: int) -> Triples | None:
    """Draw a random tail for each triple around items; a draw that is true is left out with its triple.

    Args:
        items: Distinct item indices, int64 [n].
        relation: Relations of every item's neighbours, int64 [num_items, width], 0 if there is none.
        entity: Entities of every item's neighbours, int64 [num_items, width], 0 if there is none.
        num_entities: Rows of the entities' table.

    Returns:
        None if there is nothing to learn from.
    """
    row, place = torch.nonzero(entity[items] > 0, as_tuple=True)
    if len(row) > TRIPLES:
        kept = torch.randperm(len(row), device=row.device)[:TRIPLES]
        row, place = row[kept], place[kept]
    if len(row) == 0 or num_entities <= 2:  # noqa: PLR2004 - row 0 is no entity, and a single one has no other
        return None
    item = items[row]
    around, beside = relation[item], entity[item]
    true = beside.gather(1, place[:, None]).squeeze(1)
    related = around.gather(1, place[:, None]).squeeze(1)
    corrupted = torch.randint(1, num_entities, true.shape, device=true.device)
    false = ~((beside == corrupted[:, None]) & (around == related[:, None])).any(1)
    if not bool(false.any()):
        return None
    return Triples(item[false], related[false], true[false], corrupted[false])


def transe_loss(head: Tensor, relation: Tensor, true: Tensor, corrupted: Tensor, margin: float) -> Tensor:
    """Compute the mean of [γ + ‖h + r − t‖² − ‖h + r − t'‖²]₊: a relation leads from the head to the tail.

    Args:
        head: float32 [n, dim].
        relation: float32 [n, dim].
        true: Vectors of true tails, float32 [n, dim].
        corrupted: Vectors of false tails, float32 [n, dim].
        margin: γ.

    References:
        Bordes et al., Translating Embeddings for Modeling Multi-relational Data, NIPS 2013.
    """
    end = head + relation
    near, far = (end - true).square().sum(-1), (end - corrupted).square().sum(-1)
    return torch.relu(margin + near - far).mean()


def distmult_loss(head: Tensor, relation: Tensor, true: Tensor, corrupted: Tensor) -> Tensor:
    """Compute the mean of ln(1 + e^-s) + ln(1 + e^s'), s = Σ h r t of the true tail and s' of the corrupted one.

    Args:
        head: float32 [n, dim].
        relation: float32 [n, dim].
        true: Vectors of true tails, float32 [n, dim].
        corrupted: Vectors of false tails, float32 [n, dim].

    References:
        Yang et al., Embedding Entities and Relations for Learning and Inference in Knowledge Bases, ICLR 2015.
    """
    query = head * relation
    right, wrong = (query * true).sum(-1), (query * corrupted).sum(-1)
    return (torch.nn.functional.softplus(-right) + torch.nn.functional.softplus(wrong)).mean()
