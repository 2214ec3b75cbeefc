"""Clicks, counts, purchases in time, users and graphs: each kind of frames trains with the recipe made of it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import llmrec_peft
from llmrec_peft.custom.dataset import Dataset

ITEMS = {
    "item_id": [f"i{at}" for at in range(40)],
    "title": [f"The {'old' if at % 2 else 'new'} harbour {at}" for at in range(40)],
    "kind": [["sea", "land"][at % 2] for at in range(40)],
}
USERS = {"user_id": [f"u{at}" for at in range(30)], "age": [20 + at for at in range(30)], "sex": ["F", "M"] * 15}
GRAPH = {
    "head": [f"i{at}" for at in range(40)],
    "relation": ["made by"] * 40,
    "tail": [f"maker {at % 5}" for at in range(40)],
}


def rows(**more: Any) -> dict[str, list[Any]]:
    draw = random.Random(0)
    pairs = [(f"u{user}", f"i{item}") for user in range(30) for item in draw.sample(range(40), 10)]
    columns: dict[str, list[Any]] = {"user_id": [user for user, _ in pairs], "item_id": [item for _, item in pairs]}
    return columns | {name: [value(draw) for _ in pairs] for name, value in more.items()}


CASES: dict[str, tuple[tuple[Any, ...], str, str, set[str]]] = {
    "clicks with users and a graph": (
        (rows(clicked=lambda draw: draw.randint(0, 1)), ITEMS, USERS, GRAPH),
        "click",
        "random",
        {"text", "collaborative", "features", "graph"},
    ),
    "clicks in time": (
        (rows(clicked=lambda draw: draw.randint(0, 1), time=lambda draw: 1_700_000_000 + draw.randrange(10**6)), ITEMS),
        "click",
        "temporal",
        {"text", "collaborative", "features"},
    ),
    "plays": (
        (rows(plays=lambda draw: int(draw.paretovariate(0.5) * 3)), ITEMS),
        "ranking",
        "leave-last-out",
        {"text", "collaborative", "popularity", "features"},
    ),
    "pairs alone": ((rows(),), "ranking", "leave-last-out", {"collaborative", "popularity"}),
    "purchases in time": (
        (rows(time=lambda draw: 1_700_000_000 + draw.randrange(10**6)), {k: ITEMS[k] for k in ("item_id", "title")}),
        "ranking",
        "leave-last-out",
        {"history", "popularity"},
    ),
    "stars alone": ((rows(stars=lambda draw: draw.randint(1, 5)),), "rating", "random", {"collaborative"}),
}


@pytest.mark.trains
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_data_trains(case: str, tiny_backbone: Path, tmp_path: Path) -> None:
    frames, head, split, signals = CASES[case]
    data = Dataset.from_frames(*frames, name=case)
    quick = {"backbone.name": str(tiny_backbone), "training.epochs": 1, "evaluation.bootstrap": 0, "fusion.dim": 32}
    recipe = data.recipe(quick)
    assert (recipe.head.name, recipe.data.split, set(recipe.signals.active)) == (head, split, signals)
    recommender = llmrec_peft.train(recipe, data, run=tmp_path / "run", quiet=True)
    assert (
        set(recommender.metrics["test"]["after"])
        >= {"rating": {"rmse"}, "click": {"auc"}, "ranking": {"ndcg@10"}}[head]
    )
    [found] = recommender.recommend(["u1"], k=3)
    assert len(found.items) == 3


@pytest.mark.trains
def test_purchases_that_return_are_kept(tiny_backbone: Path, tmp_path: Path) -> None:
    made = rows(time=lambda draw: 1_700_000_000 + draw.randrange(10**6))
    twice = {"user_id": made["user_id"] * 2, "item_id": made["item_id"] * 2}
    data = Dataset.from_frames(twice | {"time": made["time"] + [at + 10**7 for at in made["time"]]}, ITEMS)
    assert data.dataset.repeats
    assert len(data.dataset.interactions) == 600
    quick = {"backbone.name": str(tiny_backbone), "training.epochs": 1, "evaluation.bootstrap": 0, "fusion.dim": 32}
    recommender = llmrec_peft.train(data.recipe(quick), data, run=tmp_path / "run", quiet=True)
    assert recommender.recipe.evaluation.own_items
    assert recommender.metrics["test"]["after"]["ndcg@10"] > 0.0
