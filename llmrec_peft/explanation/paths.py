"""Paths: an item's neighbours in a knowledge graph, and the items of the user's history that they connect it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from llmrec_peft.explanation.evidence import Weighed
from llmrec_peft.explanation.pieces import Pair, Piece

if TYPE_CHECKING:
    from llmrec_peft.explanation.what_if import Connects, WhatIf

SHOWN = 3
"""Items of the user that a path lists."""


def neighbour_pieces(pair: Pair, what_if: WhatIf) -> list[Piece]:
    """Return every neighbour of a pair's item in every graph; its key is the signal's name and its place there."""
    item = int(what_if.tenant.catalogue.table_index[pair.row])
    pieces = []
    for name, signal in what_if.connecting.items():
        for place, (relation, entity) in enumerate(signal.neighbours_of(item)):
            details = {"relation": named(signal, "relations", relation), "entity": named(signal, "entities", entity)}
            pieces.append(Piece("path", f"{name}:{place}", f"{details['relation']} – {details['entity']}", details))
    return pieces


def through(one: Weighed, pair: Pair, what_if: WhatIf, weights: Mapping[str | int, float]) -> Weighed:
    """Return a neighbour as a path from items that the user liked, if such items are connected with it.

    Args:
        one: The neighbour.
        pair: User and item.
        what_if: The run.
        weights: What each item of the user's history adds to the score, if known: the largest come first.
    """
    name, _, place = str(one.piece.key).rpartition(":")
    signal = what_if.connecting[name]
    tenant = what_if.tenant
    item = int(tenant.catalogue.table_index[pair.row])
    known, label = tenant.seen.of(pair.user)
    liked = known[label >= label.mean()] if len(label) else known
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
    """Return the name of a relation or an entity; its number if the run does not know its name."""
    known = signal.names().get(kind, [])
    return known[index - 1] if 0 < index <= len(known) else f"{kind[:-1] if kind == 'relations' else 'entity'} {index}"
