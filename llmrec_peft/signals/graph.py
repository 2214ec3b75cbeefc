"""Graph: relation matrix R over an item's neighbours in a knowledge graph, and items as entities of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext
from llmrec_peft.signals.parts.paths import Contributions, Path, shared
from llmrec_peft.signals.parts.saved import require_indices

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch

REPORTED = 20
"""Relations whose weights a report lists, the largest first."""


class GraphOptions(Options):
    """Options of the graph signal."""

    vectors: bool = True
    """Whether neighbours shape the item's vector (taste) as well as its offset (how well it is liked)."""
    min_items: int = Field(default=4, ge=1)
    """Items that an entity must be connected with; rarer entities are left out, since they would be overfitted."""
    max_neighbours: int = Field(default=32, ge=1, le=1024)
    """Neighbours kept per item, the rarest first."""
    aggregation: Literal["mean", "weighted", "none"] = "mean"
    """How neighbours are averaged: with equal weights (`mean`), or with a learnt weight for each relation
    (`weighted`); with `none` only the regularizer uses the graph."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Probability that a neighbour is left out in a training step."""
    init_std: float = Field(default=0.05, ge=0.0)
    """Standard deviation of the entities' initial vectors."""
    relation_init: float = Field(default=1.0)
    """Initial weight of every relation."""
    regularizer: Literal["none", "transe", "distmult"] = "none"
    """Whether each item of the graph also has an entity vector, trained by a second loss that tells true triples
    from corrupted ones: an item plus its relation lies near the entity (`transe`), or their product is high
    (`distmult`)."""
    regularizer_weight: float = Field(default=0.1, ge=0.0, le=1000.0)
    """Weight of that loss."""
    margin: float = Field(default=1.0, gt=0.0, le=100.0)
    """How much nearer true entities have to lie than corrupted ones, in squared distance (`transe`)."""

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if self.aggregation == "none" and self.regularizer == "none":
            raise ValueError("aggregation none leaves the graph to a regularizer: choose transe or distmult")
        if self.regularizer != "none" and not self.vectors:
            raise ValueError("regularizer: it shapes items' vectors, and vectors is false")
        return self


class Graph(Signal[GraphOptions]):
    """item = Σ_n s_n R_r ∘ E_e over the neighbours n = (r, e) of i [+ H_i], offset = Σ_n s_n w_r b_e.

    R_r ∘ E_e is DistMult's product of a relation and an entity. The weights s_n are all equal, or a softmax over
    the neighbours of a learnt weight for each relation. They sum to 1: an item with many neighbours would otherwise
    move many times as far in a step as its own row does, and overfit (docs/lab/ratings.md). H_i, with a regularizer,
    is the item's own entity vector (`llmrec_peft.signals.parts.triples`): an item without interactions is placed by
    its neighbours.

    References:
        Yang et al., Embedding Entities and Relations for Learning and Inference in Knowledge Bases, ICLR 2015.
        Wang et al., Knowledge Graph Convolutional Networks for Recommender Systems, WWW 2019.
        Zhang et al., Collaborative Knowledge Base Embedding for Recommender Systems, KDD 2016 (H_i).
    """

    summary: ClassVar[str] = "relations and neighbours of an item in a knowledge graph"
    Config: ClassVar[type[Options]] = GraphOptions
    user_tables: ClassVar[tuple[str, ...]] = ()
    reads_graph: ClassVar[bool] = True

    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make R and E (row 0: no neighbour), their offsets, H, and the frozen neighbour tables."""
        import torch
        from torch import nn

        from llmrec_peft.signals.parts.row_table import RowTable

        saved, config = context.saved, self.config
        if saved is not None:
            relation, entity = saved["neighbours.relation"], saved["neighbours.entity"]
            offsets = config.aggregation != "none"
            relations = len(saved["relation_offset.weight" if offsets else f"{_placed(config.regularizer)}.weight"])
            entities = len(saved["entity_offset.weight" if offsets else "entities.weight"])
            named = dict(context.names or {})
            require_indices(relation, context.num_items, relations, "graph.neighbours.relation")
            require_indices(entity, context.num_items, entities, "graph.neighbours.entity")
            relation, entity = relation.clone(), entity.clone()  # a view would keep the whole file in memory
        else:
            relation = torch.from_numpy(context.graph.relation)
            entity = torch.from_numpy(context.graph.entity)
            named = {"relations": context.graph.relations, "entities": context.graph.entities}
            relations, entities = len(named["relations"]) + 1, len(named["entities"]) + 1
        self._names = {kind: list(listed) for kind, listed in named.items()}
        parts: dict[str, Any] = {}
        if config.aggregation != "none":
            parts |= {"relation_offset": nn.Embedding(relations, 1), "entity_offset": RowTable(entities, 1)}
            nn.init.constant_(parts["relation_offset"].weight, config.relation_init)
            nn.init.zeros_(parts["entity_offset"].weight)
        if config.vectors:
            if config.aggregation != "none" or config.regularizer == "distmult":
                parts["relations"] = nn.Embedding(relations, context.dim)
                nn.init.constant_(parts["relations"].weight, config.relation_init)
            parts["entities"] = RowTable(entities, context.dim)
            nn.init.normal_(parts["entities"].weight, std=config.init_std)
        if config.aggregation == "weighted":
            parts["relation_weight"] = nn.Embedding(relations, 1)
            nn.init.zeros_(parts["relation_weight"].weight)
        if config.regularizer != "none":
            parts["places"] = RowTable(context.num_items, context.dim)
            nn.init.normal_(parts["places"].weight, std=config.init_std)
        if config.regularizer == "transe":
            parts["translations"] = nn.Embedding(relations, context.dim)
            nn.init.normal_(parts["translations"].weight, std=config.init_std)
        count = (entity > 0).sum(1, keepdim=True).clamp(min=1)
        parts["neighbours"] = nn.ParameterDict(
            {
                "relation": nn.Parameter(relation, requires_grad=False),
                "entity": nn.Parameter(entity, requires_grad=False),
                "weight": nn.Parameter((entity > 0) / count, requires_grad=False),
            }
        )
        parts["dropout"] = nn.Dropout(config.dropout)
        return nn.ModuleDict(parts)

    def item(self, batch: Batch) -> Tensor | None:
        """Return sums over neighbours plus the items' own entity vectors, [B, dim]."""
        if not self.config.vectors:
            return None
        own = self._own(batch.item)
        if self.config.aggregation == "none":
            return own
        gathered = self._gathered(batch, "relations", "entities")
        return gathered if own is None else gathered + own

    def item_offset(self, batch: Batch) -> Tensor | None:
        """Return what the items' neighbours add to their scores, [B]."""
        if self.config.aggregation == "none":
            return None
        return self._gathered(batch, "relation_offset", "entity_offset").squeeze(-1)

    def penalty(self, batch: Batch) -> Tensor | None:
        """Return the loss of true against corrupted triples, for the batch's items and as many of the catalogue."""
        import torch

        from llmrec_peft.signals.parts.triples import distmult_loss, sampled, transe_loss

        kind, parts = self.config.regularizer, self.parts
        if kind == "none" or self.config.regularizer_weight == 0.0:
            return None
        items = torch.unique(batch.item)
        drawn = torch.randint(1, len(parts["places"].weight), items.shape, device=items.device)
        neighbours = parts["neighbours"]
        triples = sampled(
            torch.unique(torch.cat([items, drawn])),
            neighbours["relation"],
            neighbours["entity"],
            len(parts["entities"].weight),
        )
        if triples is None:
            return None
        head, relation = parts["places"](triples.item), parts[_placed(kind)](triples.relation)
        true, corrupted = parts["entities"](triples.entity), parts["entities"](triples.corrupted)
        if kind == "transe":
            return self.config.regularizer_weight * transe_loss(head, relation, true, corrupted, self.config.margin)
        return self.config.regularizer_weight * distmult_loss(head, relation, true, corrupted)

    def neighbours_of(self, item: int) -> list[tuple[int, int]]:
        """Return (relation, entity) indices around an item, rarest entity first; `names` lists them from index 1."""
        neighbours = self.parts["neighbours"]
        rows = zip(neighbours["relation"][item].tolist(), neighbours["entity"][item].tolist(), strict=True)
        return [(relation, entity) for relation, entity in rows if entity > 0]

    def paths(self, item: int, others: list[int]) -> list[Path]:
        """Return what connects an item with others, such as those in a user's history: entities next to both."""
        return shared(self.neighbours_of(item), {other: self.neighbours_of(other) for other in others})

    def contributions(self, batch: Batch) -> Contributions:
        """Return what each neighbour adds to the batch's items; summed, it gives `item` and `item_offset`."""
        import torch

        neighbours, items = self.parts["neighbours"], batch.item
        relation, entity = neighbours["relation"][items], neighbours["entity"][items]
        offset, vector = torch.zeros(relation.shape, device=items.device), None
        if self.config.aggregation != "none":
            share = self._shares(items)
            offset = share * (self.parts["relation_offset"](relation) * self.parts["entity_offset"](entity)).squeeze(-1)
            if self.config.vectors:
                vector = share.unsqueeze(-1) * self.parts["relations"](relation) * self.parts["entities"](entity)
        return Contributions(relation, entity, offset, vector, self._own(items))

    def _own(self, items: Tensor) -> Tensor | None:
        """Return the items' own entity vectors, [B, dim]; zero for items outside the graph."""
        if "places" not in self.parts:
            return None
        inside = self.parts["neighbours"]["entity"][items, 0] > 0
        placed: Tensor = self.parts["places"](items) * inside.unsqueeze(-1)
        return placed

    def _shares(self, items: Tensor) -> Tensor:
        """Return the weight of each neighbour of items, [B, neighbours]; rows sum to 1, or to 0 without neighbours."""
        import torch

        neighbours = self.parts["neighbours"]
        shares: Tensor = neighbours["weight"][items]
        if "relation_weight" in self.parts:
            there = shares > 0
            odds = self.parts["relation_weight"](neighbours["relation"][items]).squeeze(-1)
            shares = torch.softmax(odds.masked_fill(~there, -1e9), dim=1) * there
        return shares

    def _gathered(self, batch: Batch, relations: str, entities: str) -> Tensor:
        """Return Σ weight · relation ∘ entity over the neighbours of each distinct item, [B, d]."""
        import torch

        items, place = torch.unique(batch.item, return_inverse=True)
        neighbours = self.parts["neighbours"]
        relation = self.parts[relations](neighbours["relation"][items])
        entity = self.parts[entities](neighbours["entity"][items])
        weight = self.parts["dropout"](self._shares(items))
        means: Tensor = (weight.unsqueeze(-1) * relation * entity).sum(1)
        return means[place]

    def names(self) -> dict[str, list[str]]:
        """Return the names of relations and of entities, from index 1."""
        return self._names

    def report(self) -> dict[str, Any]:
        """Return the largest weights of relations, relative to the average weight (`weighted`)."""
        import torch

        if "relation_weight" not in self.parts:
            return {}
        weights = torch.softmax(self.parts["relation_weight"].weight.detach()[1:, 0], dim=0)
        counts = (weights * len(weights)).tolist()
        named = self._names.get("relations") or [str(index) for index in range(1, len(counts) + 1)]
        heaviest = sorted(zip(named, counts, strict=True), key=lambda pair: -pair[1])[:REPORTED]
        return {"relations": {name: round(count, 4) for name, count in heaviest}}


def _placed(regularizer: str) -> str:
    """Return the name of the table of relations that a regularizer reads."""
    return "translations" if regularizer == "transe" else "relations"
