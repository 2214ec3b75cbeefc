"""Graph: which columns of a knowledge graph are heads, relations and tails, and whether it is one of these items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_peft.custom.columns import GraphColumns
from llmrec_peft.custom.guess import Given, Guess, Looked, listed, overlap, percent
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_ROLES = ("head", "relation", "tail")


def guess_graph(looked: Looked, item_ids: pa.ChunkedArray, given: Given) -> tuple[GraphColumns, list[Guess]]:
    """Guess which columns of a graph are head, relation and tail.

    Args:
        looked: The triples.
        item_ids: Ids of all items, as an Arrow column.
        given: What the user said himself.

    Raises:
        InputError: Where it has no two columns of entities, or none of them names an item.
    """
    names = list(looked.facts)
    if len(names) < 2:  # noqa: PLR2004
        raise InputError(
            f"{looked.called}: a graph has columns of head, relation and tail, or of head and tail; this has"
            f" {listed(names)}"
        )
    chosen, said = _ends(looked, names, given)
    share = max(overlap(item_ids, looked.texts(chosen[role])) for role in ("head", "tail"))
    if share == 0.0:
        raise InputError(
            f"{looked.called}: no head and no tail is the id of an item: entities that stand for items have to bear"
            " their ids"
        )
    guesses = [
        Guess("graph", role, chosen.get(role), said, said != "its name") for role in ("head", "relation", "tail")
    ]
    guesses.append(Guess("graph", "items", None, f"{percent(share)} of the items are entities of it"))
    return GraphColumns(head=chosen["head"], relation=chosen.get("relation"), tail=chosen["tail"]), guesses


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
