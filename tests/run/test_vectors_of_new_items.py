"""Vectors of a run's texts: stored, encoded again, alone or together, they are the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llmrec_peft import Recommender

NEW = [
    {"item_id": f"new-{at}", "title": title, "year": 1990 + at, "genres": genres}
    for at, (title, genres) in enumerate(
        [
            ("Silent Window", ["Drama"]),
            ("A Very Long Title of a Film in Which Nothing Happens at Sea", ["Drama", "Romance"]),
            ("Up", ["Action"]),
            ("The Return of the Café Number Seven", ["Comedy", "Drama"]),
            ("Sea", ["Drama"]),
        ]
    )
]


def test_new_items_have_the_same_vectors_alone_and_together(tiny_run: Path) -> None:
    together, alone = Recommender.from_pretrained(tiny_run), Recommender.from_pretrained(tiny_run)
    together.add_items(NEW)
    for row in reversed(NEW):
        alone.add_items([row])
    ids = [str(row["item_id"]) for row in NEW]
    first = together.catalogue.vectors[[together.catalogue.row_of[item] for item in ids]]
    second = alone.catalogue.vectors[[alone.catalogue.row_of[item] for item in ids]]
    assert torch.equal(first, second)
    assert together.score(["1"] * 5, ids).tolist() == pytest.approx(alone.score(["1"] * 5, ids).tolist(), abs=1e-6)


def test_stored_vectors_are_those_of_the_loaded_model(tiny_run: Path) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    stored = recommender.catalogue.vectors
    assert torch.equal(recommender.encode(list(recommender.items.texts)), stored)
    some = [4, 30, 9]
    assert torch.equal(recommender.encode([recommender.items.texts[at] for at in some]), stored[some])
