"""Fixtures of the retrieval tests: one small run of each kind of head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmrec_peft.recipe import load_recipe
from llmrec_peft.workflows.train import train

PLAIN = (
    "signals={text: {}, collaborative: {}}",
    "fusion.dim=32",
    "training.adapter_epochs=null",
    "training.batching=random",
)
"""Texts and rows, whatever signals the shipped recipe has at the moment."""
QUICK = ("training.epochs=1", "training.refit=false", "evaluation.bootstrap=0", "evaluation.collaborative_only=false")


@pytest.fixture(scope="package")
def trained(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train a recipe on its demo data for an epoch; each choice of settings once."""
    folder, made = tmp_path_factory.mktemp("retrieval"), dict[tuple[str, ...], Path]()

    def run(recipe: str, *settings: str) -> Path:
        key = (recipe, *settings)
        if key not in made:
            made[key] = folder / f"run{len(made)}"
            changes = [f"backbone.name={tiny_backbone}", *PLAIN, *QUICK, *settings]
            train(load_recipe(recipe, changes, {"data.path": "demo"}), made[key], show=False)
        return made[key]

    return run


@pytest.fixture(scope="package")
def ranking_run(trained: Callable[..., Path]) -> Path:
    """A run of the ranking head over texts, rows, and histories."""
    return trained("amazon-scientific", "signals.history={}", "training.choice=validation")


@pytest.fixture(scope="package")
def retrieval_run(trained: Callable[..., Path]) -> Path:
    """A run of the retrieval head."""
    return trained("amazon-scientific", "head={name: retrieval}")
