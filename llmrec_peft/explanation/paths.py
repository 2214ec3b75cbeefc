"""Paths: what stands around an item in a knowledge graph, and through which of the user's items it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from llmrec_peft.explanation.evidence import Weighed
from llmrec_peft.explanation.pieces import Pair, Piece

if TYPE_CHECKING:
    from llmrec_peft.explanation.what_if import Connects, WhatIf

SHOWN = 3
"""Items of the user that a path names."""


def neighbour_pieces(pair: Pair, what_if: WhatIf) -> list[Piece]:
    """Every neighbour of a pair's item in every graph; its key is the signal's name and the neighbour's place."""
    item = int(what_if.recommender.catalogue.table_index[pair.row])
    found = []
    for name, signal in what_if.connecting.items():
        for place, (relation, entity) in enumerate(signal.neighbours_of(item)):
            told = {"relation": named(signal, "relations", relation), "entity": named(signal, "entities", entity)}
            found.append(Piece("path", f"{name}:{place}", f"{told['relation']} – {told['entity']}", told))
    return found


def through(one: Weighed, pair: Pair, what_if: WhatIf, weights: Mapping[str | int, float]) -> Weighed:
    """A neighbour told as a path from items that the user liked, where there are such beside it.

    Args:
        one: The neighbour.
        pair: User and item.
        what_if: The run.
        weights: What each item of the user's history adds to the score, where that is known: the weightiest lead.
    """
    name, _, place = str(one.piece.key).rpartition(":")
    signal = what_if.connecting[name]
    tenant = what_if.recommender.tenant
    item = int(tenant.catalogue.table_index[pair.row])
    met, label = tenant.seen.of(pair.user)
    liked = met[label >= label.mean()] if len(label) else met
    others = sorted({index for index in liked.tolist() if index not in (0, item)}, key=lambda o: -weights.get(o, 0.0))
    relation, entity = signal.neighbours_of(item)[int(place)]
    reached = {
        path.other: path.other_relation
        for path in signal.paths(item, others)
        if (path.relation, path.entity) == (relation, entity)
    }
    chosen = [other for other in others if other in reached][:SHOWN]
    if not chosen:
        return one
    titles = [tenant.items.titles[other - 1] for other in chosen]
    back = {named(signal, "relations", reached[other]) for other in chosen}
    what = f"{'; '.join(titles)} – {', '.join(sorted(back))} – {one.piece.details['entity']}"
    what += f" – {one.piece.details['relation']} – this"
    ids = [tenant.vocabulary.items[other - 1] for other in chosen]
    details = {**one.piece.details, "from_items": ids, "from_titles": titles}
    return Weighed(replace(one.piece, what=what, details=details), one.contribution)


def named(signal: Connects, kind: str, index: int) -> str:
    """What a relation or an entity is called; by its number where the run does not know its name."""
    known = signal.names().get(kind, [])
    return known[index - 1] if 0 < index <= len(known) else f"{kind[:-1] if kind == 'relations' else 'entity'} {index}"
