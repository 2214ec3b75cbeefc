"""Texts that are longer than the recipe reads are cut by the tokenizer, and their number is said."""

from __future__ import annotations

from pathlib import Path

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
