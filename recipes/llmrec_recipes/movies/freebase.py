"""Freebase triples around films, as RecBole ships KB4Rec's linkage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmrec_peft.plugins import InputError, KnowledgeGraph, table
from llmrec_recipes.text_files import required_match, rows


def read_graph(folder: Path, items: set[str]) -> tuple[KnowledgeGraph, int]:
    """Read ``*.kg`` (head, relation, tail) and ``*.link`` (item, entity), tab-separated with a header.

    Returns:
        The graph, and how many links to other films were left out.
    """
    if not folder.is_dir():
        raise InputError(f"no graph folder {folder}")
    found = {ending: required_match(folder, f"*.{ending}") for ending in ("kg", "link")}
    links: dict[str, list[Any]] = {"item_id": [], "entity_id": []}
    others = 0
    for _line, (item, entity) in rows(found["link"], "\t", 2, header=True):
        if item not in items:  # the linkage also covers films that later editions dropped
            others += 1
            continue
        links["item_id"].append(item)
        links["entity_id"].append(entity)
    triples: dict[str, list[Any]] = {"head": [], "relation": [], "tail": []}
    for _line, (head, relation, tail) in rows(found["kg"], "\t", 3, header=True):
        triples["head"].append(head)
        triples["relation"].append(relation)
        triples["tail"].append(tail)
    if not links["item_id"] or not triples["head"]:
        raise InputError(f"{folder}: the graph links no item of this data")
    return KnowledgeGraph(table(triples), table(links)), others
