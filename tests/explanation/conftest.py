"""Fixtures of the explanations' tests: small runs of several recipes over tiny backbones."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.artifact.tables import read_learned
from llmrec_peft.explanation.explainer import Explainer
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.recommender import Recommender
from llmrec_peft.testing.backbones import make_tiny
from llmrec_peft.workflows.train import train

LIGHT: dict[str, Any] = {"evaluation.bootstrap": 0, "evaluation.blend": False, "evaluation.collaborative_only": False}


@pytest.fixture(scope="session")
def trained(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train a recipe on its made-up data over the tiny encoder and return the run folder."""

    def make(recipe: str, **changes: Any) -> Path:
        given = {name.replace("__", "."): value for name, value in changes.items()}
        base = {
            "data.path": "demo",
            "backbone.name": str(tiny_backbone),
            "adapter": {"method": "lora", "layers": "top-2"},
            "training.refit": False,
            **LIGHT,
        }
        run = tmp_path_factory.mktemp(recipe) / "run"
        train(load_recipe(recipe, changes={**base, **given}), run, show=False)
        return run

    return make


@pytest.fixture(scope="session")
def film_run(trained: Callable[..., Path]) -> Path:
    """Films with a knowledge graph, rating histories of both sides, and texts."""
    return trained(
        "movies",
        training__epochs=3,
        evaluation__ablations=[],
        signals__collaborative={"user_history": "both", "item_history": "both"},
        signals__text={"dropout": 0.0},
    )


@pytest.fixture(scope="session")
def purchase_run(trained: Callable[..., Path]) -> Path:
    """Purchases one after the other: a history of texts, and a ranking of the catalogue."""
    return trained(
        "amazon-scientific",
        training__epochs=3,
        signals={"history": {"entries": "text"}, "collaborative": {"user_history": "implicit"}},
    )


@pytest.fixture(scope="session")
def prompt_run(trained: Callable[..., Path]) -> Path:
    """Records whose history and candidate are read as one text, under a click head."""
    return trained(
        "tallrec-movie",
        training__epochs=1,
        head={"name": "click", "feed": "prompt"},
        views__prompt={
            "template": "{% for film in history if film.liked %}{{ film.title }}; {% endfor %}Next: {{ item.title }}",
            "max_length": 64,
        },
    )


@pytest.fixture(scope="session")
def explainer_of() -> Callable[..., Explainer]:
    """An explainer of a run folder."""

    def make(run: Path, **options: Any) -> Explainer:
        return Explainer(Recommender.from_pretrained(run), read_learned(run / "seen.parquet"), **options)

    return make


@pytest.fixture(scope="session")
def films(film_run: Path, explainer_of: Callable[..., Explainer]) -> Explainer:
    """The explainer of the films."""
    return explainer_of(film_run)


@pytest.fixture(scope="session")
def purchases(purchase_run: Path, explainer_of: Callable[..., Explainer]) -> Explainer:
    """The explainer of the purchases."""
    return explainer_of(purchase_run)


@pytest.fixture(scope="session")
def prompts(prompt_run: Path, explainer_of: Callable[..., Explainer]) -> Explainer:
    """The explainer of the records."""
    return explainer_of(prompt_run)


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
        return load_recipe("amazon-reviews", changes=copy.deepcopy({**base, **changes}))

    return make


@pytest.fixture(scope="session")
def writer_folder(writer_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained writer."""
    folder = tmp_path_factory.mktemp("writer") / "writer"
    train(writer_recipe(), folder, show=False)
    return folder
