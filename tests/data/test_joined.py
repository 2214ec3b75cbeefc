"""Datasets that came one after another become one: what both hold is there once, the newest description holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmrec_peft.data.dataset import KnowledgeGraph, RecDataset, column, interactions_table, table
from llmrec_peft.data.joined import joined
from llmrec_peft.errors import InputError

Row = tuple[str, str, float, int]
JANUARY: list[Row] = [("ann", "tea", 4.0, 10), ("bob", "tea", 2.0, 11), ("bob", "tea", 2.0, 11)]


def dataset(name: str, rows: list[Row], items: dict[str, str], users: dict[str, int] | None = None) -> RecDataset:
    user, item, label, time = zip(*rows, strict=True)
    people = users or dict.fromkeys(dict.fromkeys(user), 1)
    return RecDataset(
        name=name,
        interactions=interactions_table(user, item, label, time, review=[f"{name} {at}" for at in range(len(rows))]),
        items=table({"item_id": list(items), "title": list(items.values())}),
        users=table({"user_id": list(people), "age": list(people.values())}),
        rating_range=(1.0, 5.0),
        repeats=True,
    )


def rows_of(one: RecDataset) -> list[Row]:
    return list(
        zip(*(column(one.interactions, name) for name in ("user_id", "item_id", "rating", "timestamp")), strict=True)
    )


def test_interaction_that_both_hold_is_there_once_and_repeats_of_one_stay() -> None:
    both = joined(
        [
            dataset("january", JANUARY, {"tea": "Tea"}),
            dataset("february", [*JANUARY, ("ann", "tea", 5.0, 20), ("cid", "mate", 3.0, 21)], {"tea": "", "mate": ""}),
        ]
    )
    assert rows_of(both) == [*JANUARY, ("ann", "tea", 5.0, 20), ("cid", "mate", 3.0, 21)]
    assert column(both.interactions, "review")[-2:] == ["february 3", "february 4"]


def test_last_description_holds_and_ids_keep_the_order_in_which_they_came() -> None:
    first = dataset("a", [("ann", "tea", 4.0, 1), ("bob", "rum", 4.0, 2)], {"tea": "Tea", "rum": "Rum"}, {"ann": 1})
    second = dataset("b", [("ann", "tea", 3.0, 3)], {"mate": "Mate", "tea": "Green tea"}, {"zoe": 7, "ann": 2})
    both = joined([first, second])
    titles = dict(zip(column(both.items, "item_id"), column(both.items, "title"), strict=True))
    assert list(titles.items()) == [("tea", "Green tea"), ("rum", "Rum"), ("mate", "Mate")]
    assert column(both.users, "age") == [2, 7]
    assert both.name == "b"


def test_column_that_one_lacks_is_empty_there_and_one_of_another_type_is_named() -> None:
    first, second = (dataset(name, JANUARY, {"tea": "Tea"}) for name in "ab")
    with_brand = replace(second, items=table({"item_id": ["oat"], "title": ["Oat"], "brand": ["Gaia"]}))
    assert column(joined([first, with_brand]).items, "brand") == [None, "Gaia"]
    with_number = replace(second, items=table({"item_id": ["oat"], "title": ["Oat"], "brand": [[1]]}))
    with pytest.raises(InputError, match="columns differ from those of what came before"):
        joined([with_brand, with_number])


def test_links_and_triples_are_joined_and_labels_of_another_meaning_are_refused() -> None:
    first, second = (dataset(name, JANUARY, {"tea": "Tea"}) for name in "ab")
    triples = table({"head": ["e1", "e1"], "relation": ["is", "has"], "tail": ["e2", "e3"]})
    graphs = [KnowledgeGraph(triples, table({"item_id": ["tea"], "entity_id": [name]})) for name in ("e1", "e2")]
    both = joined([replace(first, graph=graphs[0]), replace(second, graph=graphs[1]), first])
    assert both.graph is not None
    assert len(both.graph.triples) == 2
    assert column(both.graph.links, "entity_id") == ["e1", "e2"]
    with pytest.raises(InputError, match="labels mean something else"):
        joined([first, replace(second, feedback="click")])
