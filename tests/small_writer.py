"""Fixtures of a small writer: a tiny decoder, the recipe that trains it, and the folder it leaves."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.testing.adapters.backbones import make_tiny
from llmrec_peft.workflows.train import train


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny seeded Llama with SmolLM2's tokenizer that chooses words by its input embedding."""
    folder = make_tiny("tiny-llama", tmp_path_factory.mktemp("tiny-decoder"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes = {"tie_word_embeddings": True, "max_position_embeddings": 512}
    (folder / "config.json").write_text(json.dumps({**config, **sizes}), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def writer_recipe(tiny_decoder: Path) -> Callable[..., Recipe]:
    """A recipe that trains a writer on made-up letters over the tiny decoder, with changes to it."""
    base: dict[str, Any] = {
        "data.path": "demo",
        "backbone": {"name": str(tiny_decoder), "precision": "fp32"},
        "adapter": {"method": "prompt", "num_virtual_tokens": 6},
        "head": {"name": "explanation", "review_tokens": 16, "evaluated": 40, "about_words": 8},
        "data.train_size": 320,
        "training.epochs": 2,
        "training.batch_size": 8,
        "training.adapter": {"learning_rate": 0.3},
        "evaluation.bootstrap": 100,
    }

    def make(**changes: Any) -> Recipe:
        return load_recipe("ecommerce", changes=copy.deepcopy({**base, **changes}))

    return make


@pytest.fixture(scope="session")
def writer_folder(writer_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained writer."""
    folder = tmp_path_factory.mktemp("writer") / "writer"
    train(writer_recipe(), folder, show=False)
    return folder
