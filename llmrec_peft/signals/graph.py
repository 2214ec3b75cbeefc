"""Graph: relation matrix R over an item's neighbours in a knowledge graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch


class GraphOptions(Options):
    """Options of the graph signal."""

    vectors: bool = True
    """Whether neighbours shape the item's vector (taste), beside its offset (how well it is liked)."""
    min_items: int = Field(default=4, ge=1)
    """Entities beside fewer items than this are left out: they would be learnt by heart."""
    max_neighbours: int = Field(default=32, ge=1, le=1024)
    """Neighbours kept of an item, rarest first."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Chance that a neighbour is left out in a step."""
    init_std: float = Field(default=0.05, ge=0.0)
    """Spread of the entities' initial vectors."""
    relation_init: float = Field(default=1.0)
    """Initial weight of every relation."""


class Graph(Signal[GraphOptions]):
    """item = mean of R_r ∘ E_e over the neighbours (r, e) of i, and offset = mean of w_r b_e over them.

    R_r ∘ E_e is DistMult's reading of a relation. The mean, not a sum: an item with many neighbours would
    otherwise move many times as far in a step as its own row does, and overfit (docs/experiments.md).

    References:
        Yang et al., Embedding Entities and Relations for Learning and Inference in Knowledge Bases, ICLR 2015.
        Wang et al., Knowledge Graph Convolutional Networks for Recommender Systems, WWW 2019.
    """

    summary: ClassVar[str] = "relations and neighbours of an item in a knowledge graph"
    Config: ClassVar[type[Options]] = GraphOptions
    reads_graph: ClassVar[bool] = True

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make R and E (row 0: no neighbour), their offsets, and the frozen neighbour tables."""
        import torch
        from torch import nn

        if context.saved is not None:
            relation, entity = context.saved["neighbours.relation"], context.saved["neighbours.entity"]
            relations = len(context.saved["relation_offset.weight"])
            entities = len(context.saved["entity_offset.weight"])
        else:
            assert context.neighbours is not None  # noqa: S101 - without a graph the signal is off
            relation = torch.from_numpy(context.neighbours.relation)
            entity = torch.from_numpy(context.neighbours.entity)
            relations, entities = len(context.neighbours.relations) + 1, len(context.neighbours.entities) + 1
        parts: dict[str, Any] = {
            "relation_offset": nn.Embedding(relations, 1),
            "entity_offset": nn.Embedding(entities, 1),
        }
        nn.init.constant_(parts["relation_offset"].weight, self.config.relation_init)
        nn.init.zeros_(parts["entity_offset"].weight)
        if self.config.vectors:
            parts["relations"] = nn.Embedding(relations, context.dim)
            parts["entities"] = nn.Embedding(entities, context.dim)
            nn.init.constant_(parts["relations"].weight, self.config.relation_init)
            nn.init.normal_(parts["entities"].weight, std=self.config.init_std)
        count = (entity > 0).sum(1, keepdim=True).clamp(min=1)
        parts["neighbours"] = nn.ParameterDict(
            {
                "relation": nn.Parameter(relation, requires_grad=False),
                "entity": nn.Parameter(entity, requires_grad=False),
                "weight": nn.Parameter((entity > 0) / count, requires_grad=False),
            }
        )
        parts["dropout"] = nn.Dropout(self.config.dropout)
        return nn.ModuleDict(parts)

    def item(self, batch: Batch) -> Tensor | None:
        """Means over neighbours, [B, dim]."""
        return self._mean(batch, "relations", "entities") if self.config.vectors else None

    def offset(self, batch: Batch) -> Tensor:
        """How well liked items beside such neighbours are, [B]."""
        return self._mean(batch, "relation_offset", "entity_offset").squeeze(-1)

    def _mean(self, batch: Batch, relations: str, entities: str) -> Tensor:
        """Mean of relation ∘ entity over the neighbours of each distinct item, [B, d]."""
        import torch

        items, place = torch.unique(batch.item, return_inverse=True)
        neighbours = self.parts["neighbours"]
        relation = self.parts[relations](neighbours["relation"][items])
        entity = self.parts[entities](neighbours["entity"][items])
        weight = self.parts["dropout"](neighbours["weight"][items])
        means: Tensor = (weight.unsqueeze(-1) * relation * entity).sum(1)
        return means[place]
