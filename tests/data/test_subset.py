"""A drawn subset of items: whole items, the same ones for one seed, nothing left that points outside."""

from __future__ import annotations

from llmrec_peft.data.dataset import column
from llmrec_peft.data.subset import with_fewer_items
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe
from llmrec_peft.registry import get


def test_kept_items_keep_all_their_interactions_and_only_theirs() -> None:
    whole = get("readers", "movies")().demo(0)
    drawn = with_fewer_items(whole, 50, seed=3)
    kept = set(column(drawn.items, "item_id"))
    assert len(kept) == len(drawn.items) == 50
    assert len(drawn.interactions) == sum(item in kept for item in column(whole.interactions, "item_id"))
    assert set(column(drawn.interactions, "item_id")) <= kept
    assert drawn.graph is not None
    assert set(column(drawn.graph.links, "item_id")) == kept
    assert f"50 of {len(whole.items)} items" in drawn.notes[-1]


def test_the_draw_is_the_seeds() -> None:
    whole = get("readers", "movies")().demo(0)
    ids = [column(with_fewer_items(whole, 50, seed).items, "item_id") for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]


def test_enough_is_all() -> None:
    whole = get("readers", "movies")().demo(0)
    assert with_fewer_items(whole, len(whole.items), 0) is whole


def test_a_recipe_with_fewer_items_is_prepared_with_its_graph() -> None:
    recipe = load_recipe("movies", ["data.max_items=80"], {"data.path": "demo"})
    prepared = prepare(recipe)
    assert len(prepared.vocabulary.items) == 80
    assert len(prepared.texts) == 81
    assert prepared.neighbours is not None
