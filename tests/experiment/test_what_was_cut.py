"""Texts that are longer than the recipe reads are cut by the tokenizer, and their number is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.recipe import load_recipe


def texts_of(tiny_backbone: Path, data: Path, *overrides: str) -> Texts:
    named = [f"backbone.name={tiny_backbone}", "backbone.precision=fp32", "signals.graph=false", *overrides]
    recipe = load_recipe("movies", named, {"data.path": str(data)})
    prepared = prepare(recipe)
    return Texts(load_backbone(recipe.backbone, torch.device("cpu")), prepared, prepared.recipe)


def test_item_texts_that_are_cut_are_counted_in_tokens(tiny_backbone: Path, movielens_folder: Path) -> None:
    assert texts_of(tiny_backbone, movielens_folder).notes == []
    long = "views.item.template={{ title }}{% if item_id in ['3', '7'] %} and so on{% endif %}"
    cut = texts_of(tiny_backbone, movielens_folder, long, "views.item.max_length=8")
    lengths = [len(row) for row in cut.backbone.tokenize(["Café Number 1", "The Café Number 3 and so on"], None)]
    assert lengths[0] <= 8 < lengths[1]
    assert cut.notes == ["2 of 40 item texts are longer than 8 tokens (views.item.max_length) and were cut"]


def test_histories_that_are_cut_are_counted() -> None:
    whole = {"user_history": "both", "item_history": "both"}
    changes = {"data.path": "demo", "training.refit": True, "signals.collaborative": whole}

    def notes(longest: int | str, **changed: str) -> list[str]:
        options = {**whole, "longest_history": longest, **changed}
        recipe = load_recipe("movies", changes={**changes, "signals.collaborative": options})
        return [line for line in prepare(recipe).dataset.notes if "histories" in line]

    assert notes("auto") == notes("all") == []
    prepared = prepare(load_recipe("movies", changes=changes))
    known = prepared.interactions.take(prepared.split.fit)
    users, items = (int((np.bincount(index) > 9).sum()) for index in (known.user, known.item))
    assert users > 0 < items
    summed = (
        "the newest 9 interactions are summed; counts and means are over all (signals.collaborative.longest_history)"
    )
    assert notes(9) == [f"of the histories of {users} users and {items} items {summed}"]
    assert notes(9, user_history="none") == [f"of the histories of {items} items {summed}"]
