"""Graph: which columns of a knowledge graph are heads, relations and tails, and which of its entities are items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_peft.custom.columns import GraphColumns, LinkColumns
from llmrec_peft.custom.guess import Given, Guess, Looked, listed, overlap, percent
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_ROLES = ("head", "relation", "tail")


def require_graph_of_links(graph: object, links: object, called: str) -> None:
    """Refuse links without a graph.

    Raises:
        InputError: Naming what is missing.
    """
    if links is not None and graph is None:
        raise InputError(f"{called}: links say which entities of a graph are items, and there is no graph")


def guess_graph(
    looked: Looked, links: Looked | None, item_ids: pa.ChunkedArray, given: Given
) -> tuple[GraphColumns, LinkColumns | None, list[Guess]]:
    """Guess which columns of a graph are head, relation and tail, and of its links, item and entity.

    Args:
        looked: The triples.
        links: Which entity stands for which item, if there is such a table; else entities bear ids of items.
        item_ids: Ids of all items, as an Arrow column.
        given: What the user said himself.

    Raises:
        InputError: Where there are no two columns of entities, or none of the entities is an item.
    """
    names = list(looked.facts)
    if len(names) < 2:  # noqa: PLR2004
        raise InputError(
            f"{looked.called}: a graph has columns of head, relation and tail, or of head and tail; this has"
            f" {listed(names)}"
        )
    chosen, said = _ends(looked, names, given)
    columns = GraphColumns(head=chosen["head"], relation=chosen.get("relation"), tail=chosen["tail"])
    guesses = [Guess("graph", role, chosen.get(role), said, said != "its name") for role in _ROLES]
    if links is not None:
        link_columns, more = _links(links, looked, columns, item_ids, given)
        return columns, link_columns, guesses + more
    share = max(overlap(item_ids, looked.texts(chosen[role])) for role in ("head", "tail"))
    if share == 0.0:
        raise InputError(
            f"{looked.called}: no head and no tail is the id of an item: entities that stand for items have to bear"
            " their ids, or --graph-links FILE says which entity stands for which item"
        )
    guesses.append(Guess("graph", "items", None, f"{percent(share)} of the items are entities of it"))
    return columns, None, guesses


def _ends(looked: Looked, names: list[str], given: Given) -> tuple[dict[str, str], str]:
    """Return the column of each role, and why: what the user said, the names, or the columns' order."""
    asked = {role: given.get(f"{role}_column") for role in _ROLES}
    chosen = {role: looked.require(str(name), f"--{role}-column") for role, name in asked.items() if name is not None}
    for role in _ROLES:
        free = [name for name in names if name not in chosen.values()]
        best = max(free, key=lambda name: looked.facts[name].is_named(role), default=None)
        if looked.headed and role not in chosen and best is not None and looked.facts[best].is_named(role):
            chosen[role] = best
    if {"head", "tail"} <= set(chosen):
        return chosen, "its name"
    if len(names) == 2:  # noqa: PLR2004 - without relations
        return {"head": names[0], "tail": names[1]}, "the columns' order"
    return dict(zip(_ROLES, names, strict=False)), "the columns' order"


def _links(
    links: Looked, graph: Looked, columns: GraphColumns, item_ids: pa.ChunkedArray, given: Given
) -> tuple[LinkColumns, list[Guess]]:
    """Return which columns of the links are items and entities: those whose values are such.

    Raises:
        InputError: Where no column has ids of items, or no other one has entities of the graph.
    """
    ends = [graph.texts(name) for name in (columns.head, columns.tail)]
    shares = {
        "item": {name: overlap(links.texts(name), item_ids) for name in links.facts},
        "entity": {name: max(overlap(links.texts(name), end) for end in ends) for name in links.facts},
    }
    chosen: dict[str, str] = {}
    guesses = []
    for role, option, of in (
        ("item", "links_item_column", "ids of items"),
        ("entity", "links_entity_column", f"entities of {graph.called}"),
    ):
        flag = f"--{option.replace('_', '-')}"
        free = [name for name in links.facts if name not in chosen.values()]
        if given.get(option) is not None:
            free = [links.require(str(given[option]), flag)]
        ranked = {
            name: (shares[role][name] > 0.0, links.facts[name].is_named(role), shares[role][name]) for name in free
        }
        best = max(ranked, key=ranked.__getitem__, default=None)
        if best is None or shares[role][best] == 0.0:
            raise InputError(
                f"{links.called}: no column has {of}; it has {listed(links.facts)} ({flag} NAME says which)"
            )
        chosen[role] = best
        guesses.append(Guess("graph_links", role, best, f"{percent(shares[role][best])} of its values are {of}"))
    return LinkColumns(item=chosen["item"], entity=chosen["entity"]), guesses
