"""Fixtures of the explanations' tests: small runs of several recipes over tiny backbones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.artifact.seen import read_learned
from llmrec_peft.explanation.explainer import Explainer
from llmrec_peft.recipe import load_recipe
from llmrec_peft.run.recommender import Recommender
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
        data__expand_histories=False,  # 16 steps in place of 166
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
        return Explainer(Recommender.from_pretrained(run), read_learned(run / "seen.safetensors"), **options)

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
