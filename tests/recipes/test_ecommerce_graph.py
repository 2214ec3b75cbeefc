"""The graph of products: brands, paths of categories and what is bought with what, from the metadata alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from llmrec_recipes.ecommerce.reader import Ecommerce, EcommerceOptions
from llmrec_recipes.ecommerce.relations import RELATIONS, Relation

from llmrec_peft.data.dataset import RecDataset, columns
from llmrec_peft.data.graph import Neighbours
from llmrec_peft.data.soundness import sound
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe

PRODUCTS: list[dict[str, Any]] = [
    {
        "asin": "B1",
        "title": "Tea",
        "brand": "Old Mill",
        "category": ["Food", "Drinks", "Tea &amp; Co."],
        "also_buy": ["B2", "B2", "B1", "X1", "X2", ""],
    },
    {"asin": "B2", "title": "Mug", "brand": " Old\nMill ", "category": ["Food"], "also_buy": ["X1", "B1"]},
    {"asin": "B3", "title": "Jug", "brand": "", "category": [], "also_buy": []},
    {
        "asin": "B9",
        "title": "Without a review",
        "brand": "Old Mill",
        "category": ["Food", "Drinks"],
        "also_buy": ["X2"],
    },
]


def shop(path: Path, products: list[dict[str, Any]], relations: tuple[Relation, ...] = RELATIONS) -> RecDataset:
    reviews = [
        {"reviewerID": f"A{user}", "asin": f"B{item}", "overall": 1 + user, "unixReviewTime": 10**9 + user * item}
        for user in range(4)
        for item in (1, 2, 3)
    ]
    for name, records in (("Tea_5.json", reviews), ("meta_Tea.json", products)):
        (path / name).write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    data = Ecommerce.opened(EcommerceOptions(relations=relations)).read(path, None)
    return sound(data)


def triples(data: RecDataset) -> set[tuple[str, str, str]]:
    assert data.graph is not None
    found = columns(data.graph.triples)
    listed = list(zip(found["head"], found["relation"], found["tail"], strict=True))
    assert len(set(listed)) == len(listed)
    return set(listed)


def test_graph_says_what_the_metadata_say(tmp_path: Path) -> None:
    data = shop(tmp_path, PRODUCTS)
    assert triples(data) == {
        ("product B1", "brand", "brand Old Mill"),
        ("product B2", "brand", "brand Old Mill"),
        ("product B1", "category", "category Food > Drinks"),
        ("product B1", "category", "category Food > Drinks > Tea & Co."),
        ("product B1", "bought with", "product B2"),
        ("product B2", "bought with", "product B1"),
        ("product B1", "bought with", "product X1"),
        ("product B2", "bought with", "product X1"),
    }
    assert data.graph is not None
    assert data.graph.links[:] == {
        "item_id": ["B1", "B2", "B3"],
        "entity_id": ["product B1", "product B2", "product B3"],
    }
    assert "products without a review here that several name in also_buy, entities: 1" in data.notes


def test_products_of_one_brand_and_one_basket_are_neighbours(tmp_path: Path) -> None:
    data = shop(tmp_path, PRODUCTS)
    assert data.graph is not None
    around = Neighbours.of(data.graph, Vocabulary(("A1",), ("B1", "B2", "B3")))
    assert set(around.entities) == {"brand Old Mill", "product X1"}, "what connects one product alone is left out"
    assert (around.entity > 0).sum(1).tolist() == [0, 2, 2, 0]


@pytest.mark.parametrize(
    ("relations", "kinds"),
    [
        (("brand",), {"brand"}),
        (("category", "bought"), {"category", "bought with"}),
        (RELATIONS, {"brand", "category", "bought with"}),
    ],
)
def test_relations_are_those_asked_for(tmp_path: Path, relations: tuple[Relation, ...], kinds: set[str]) -> None:
    assert {relation for _, relation, _ in triples(shop(tmp_path, PRODUCTS, relations))} == kinds


@pytest.mark.parametrize(
    ("products", "relations"),
    [
        (PRODUCTS, ()),
        ([{"asin": "B1", "title": "Tea"}], RELATIONS),
        ([{"asin": "B1", "brand": None, "category": None, "also_buy": None}], RELATIONS),
    ],
)
def test_without_relations_there_is_no_graph_and_its_file_is_named(
    tmp_path: Path, products: list[dict[str, Any]], relations: tuple[Relation, ...]
) -> None:
    assert shop(tmp_path, products, relations).graph is None
    changes = {
        "data.path": str(tmp_path),
        "data.options": {"relations": relations},
        "signals": {"text": {}, "graph": {}},
        "data.split": "random",
    }
    source = r"it would come from meta_Tea\.json with brand, category or also_buy, see data\.options\.relations"
    notes = prepare(load_recipe("ecommerce", changes=changes)).dataset.notes
    assert [note for note in notes if re.search(rf"signal graph is off \({source}\)", note)]
    with pytest.raises(InputError, match=source):
        prepare(load_recipe("ecommerce", changes={**changes, "signals": {"text": False, "graph": {}}}))


@pytest.mark.parametrize("value", ["B2", ["B2", None], ["B2", ["B3"]], [7]])
def test_odd_lists_of_products_take_nothing_down(tmp_path: Path, value: Any) -> None:
    found = triples(shop(tmp_path, [{**PRODUCTS[0], "also_buy": value}, *PRODUCTS[1:]]))
    assert (("product B1", "bought with", "product B2") in found) == (value != [7])


def test_unknown_relation_is_refused_with_its_field() -> None:
    with pytest.raises(InputError, match=r"data\.options\.relations\.0"):
        load_recipe("ecommerce", changes={"data.options": {"relations": ["colour"]}})
