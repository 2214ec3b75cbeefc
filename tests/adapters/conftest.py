"""Fixtures of the adapters' tests: fresh backbones, and a run of real MiniLM in fp32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.testing.adapters.backbones import make_tiny


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny seeded model of one architecture, such as ``tiny-llama``; made once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = make_tiny(name, tmp_path_factory.mktemp(name) / name)
        return made[name]

    return folder


@pytest.fixture
def fresh(tiny_backbone: Path, tiny_folders: Callable[[str], Path]) -> Callable[..., Backbone]:
    """Load the tiny BERT, a tiny model of another architecture, or a real one by name."""

    def make(name: str | None = None, **fields: Any) -> Backbone:
        where = str(tiny_folders(name)) if name and name.startswith("tiny-") else name or str(tiny_backbone)
        return load_backbone(BackboneSection(name=where, **{"precision": "fp32", **fields}), torch.device("cpu"))

    return make


@pytest.fixture(scope="session")
def minilm_run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real MiniLM in fp32 with LoRA in its top two layers, trained on the made-up films."""
    from llmrec_peft.recipe import load_recipe
    from llmrec_peft.workflows.train import train

    changes = {
        "data.path": str(tiny_data),
        "backbone.precision": "fp32",
        "adapter.layers": "top-2",
        "training.epochs": 2,
        "training.refit": False,
        "training.average": 0.0,
        "training.adapter.learning_rate": 0.01,
        "evaluation.bootstrap": 0,
    }
    run = tmp_path_factory.mktemp("minilm-run") / "run"
    train(load_recipe("movies", changes=changes), run, show=False)
    return run
