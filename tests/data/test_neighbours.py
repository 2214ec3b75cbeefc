"""Neighbours: the graph around the items, each fact once."""

from __future__ import annotations

import numpy as np

from llmrec_peft.data.dataset import KnowledgeGraph
from llmrec_peft.data.graph import Neighbours
from llmrec_peft.data.tables import table
from llmrec_peft.data.vocabulary import Vocabulary

ITEMS = ("1", "2", "3")


def graph(*triples: tuple[str, str, str], links: dict[str, str] | None = None) -> KnowledgeGraph:
    linked = links or {item: f"e{item}" for item in ITEMS}
    heads, relations, tails = zip(*triples, strict=True)
    return KnowledgeGraph(
        triples=table({"head": heads, "relation": relations, "tail": tails}),
        links=table({"item_id": list(linked), "entity_id": list(linked.values())}),
    )


def around(neighbours: Neighbours, index: int) -> set[tuple[str, str]]:
    """Neighbours of an item index by name."""
    pairs = zip(neighbours.relation[index], neighbours.entity[index], strict=True)
    return {(neighbours.relations[r - 1], neighbours.entities[e - 1]) for r, e in pairs if e > 0}


def of(kg: KnowledgeGraph, **options: int) -> Neighbours:
    return Neighbours.of(kg, Vocabulary.of([], ITEMS), **options)


def test_entities_beside_an_item_are_found_by_name() -> None:
    neighbours = of(graph(("e1", "director", "mann"), ("e2", "director", "mann"), ("e2", "genre", "crime")))
    assert around(neighbours, 1) == {("director", "mann")}
    assert around(neighbours, 2) == {("director", "mann")}, "crime stands beside one item only"
    assert around(neighbours, 3) == set()
    assert around(neighbours, 0) == set(), "index 0 is the unknown item"


def test_a_fact_stated_with_its_inverse_counts_once() -> None:
    kg = graph(
        ("e1", "director", "mann"),
        ("mann", "directed", "e1"),
        ("e2", "director", "mann"),
        ("mann", "directed", "e2"),
        ("e1", "director", "mann"),
    )
    neighbours = of(kg)
    assert (neighbours.entity[1] > 0).sum() == 1
    assert around(neighbours, 1) == around(neighbours, 2) == {("director", "mann")}


def test_a_fact_stated_only_towards_the_item_is_read_as_inverse() -> None:
    neighbours = of(graph(("mann", "directed", "e1"), ("mann", "directed", "e2")))
    assert around(neighbours, 1) == {("inverse of directed", "mann")}


def test_two_relations_to_one_entity_are_two_neighbours() -> None:
    neighbours = of(graph(("e1", "director", "welles"), ("e1", "actor", "welles"), ("e2", "actor", "welles")))
    assert around(neighbours, 1) == {("director", "welles"), ("actor", "welles")}


def test_entities_beside_too_few_items_are_left_out() -> None:
    triples = [(f"e{item}", "genre", "drama") for item in ITEMS] + [(f"e{item}", "actor", "x") for item in "12"]
    assert of(graph(*triples), min_items=3).entities == ("drama",)
    assert of(graph(*triples), min_items=2).entities == ("drama", "x")
    assert of(graph(*triples, ("e3", "actor", "y")), min_items=1).entities == ("drama", "x", "y")


def test_width_keeps_the_rarest_entities() -> None:
    common = [(f"e{item}", "genre", "drama") for item in ITEMS]
    rare = [(f"e{item}", "actor", "x") for item in "12"]
    neighbours = of(graph(*common, *rare), width=1)
    assert neighbours.entity.shape == neighbours.relation.shape == (4, 1)
    assert around(neighbours, 1) == {("actor", "x")}
    assert around(neighbours, 3) == {("genre", "drama")}


def test_tables_are_no_wider_than_the_widest_item_and_padding_is_zero() -> None:
    triples = [(f"e{item}", f"r{n}", f"entity {n}") for item in "12" for n in range(5)]
    neighbours = of(graph(*triples, ("e3", "r0", "entity 0")), width=32)
    assert neighbours.entity.shape == (4, 5)
    assert np.array_equal(neighbours.entity > 0, neighbours.relation > 0)
    assert (neighbours.entity[3] > 0).tolist() == [True, False, False, False, False]


def test_items_without_a_link_and_links_to_unknown_items_do_no_harm() -> None:
    kg = graph(("e1", "genre", "drama"), ("e9", "genre", "drama"), links={"1": "e1", "9": "e9"})
    assert around(of(kg), 1) == {("genre", "drama")}
    assert around(of(kg), 2) == set()


def test_items_linked_to_the_same_entity_share_its_neighbours() -> None:
    kg = graph(("e1", "genre", "drama"), links={"1": "e1", "2": "e1"})
    assert around(of(kg), 1) == around(of(kg), 2) == {("genre", "drama")}
