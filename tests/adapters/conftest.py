"""Fixtures of the adapters' tests: fresh backbones, and a run of real MiniLM in fp32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.recipe import BackboneSection


@pytest.fixture
def fresh(tiny_backbone: Path) -> Callable[..., Backbone]:
    """Load the tiny backbone, or another by name."""

    def make(name: str | None = None) -> Backbone:
        section = BackboneSection(name=name or str(tiny_backbone), precision="fp32")
        return load_backbone(section, torch.device("cpu"))

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
