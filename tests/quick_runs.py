"""Fixtures that several rooms share: a tiny decoder that speaks, and quick runs of made-up data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmrec_peft.recipe import load_recipe
from llmrec_peft.testing.adapters.backbones import make_tiny
from llmrec_peft.workflows.train import train

Trained = Callable[..., Path]
QUICK: dict[str, Any] = {
    "data.path": "demo",
    "backbone.precision": "fp32",
    "training.epochs": 1,
    "training.refit": False,
    "evaluation.bootstrap": 0,
    "evaluation.ablations": (),
}


@pytest.fixture(scope="session")
def speaking_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny seeded Llama with an output embedding, so that it can be asked for "Yes" or "No"."""
    folder = make_tiny("tiny-llama", tmp_path_factory.mktemp("speaking-decoder"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    told = {"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False, "max_position_embeddings": 256}
    (folder / "config.json").write_text(json.dumps({**config, **told}), encoding="utf-8")
    tensors = load_file(folder / "model.safetensors")
    rows = torch.randn(config["vocab_size"], config["hidden_size"], generator=torch.Generator().manual_seed(1))
    named = {f"model.{name}": tensor for name, tensor in tensors.items()}
    save_file({**named, "lm_head.weight": rows}, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def quick_run(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a recipe on its made-up data over the tiny encoder; the same changes give the same folder."""
    made: dict[str, Path] = {}

    def run(recipe: str, changes: dict[str, Any]) -> Path:
        key = json.dumps([recipe, changes], default=str)
        if key not in made:
            folder = tmp_path_factory.mktemp("quick") / "run"
            base = {**QUICK, "backbone.name": str(tiny_backbone)}
            train(load_recipe(recipe, changes={**base, **changes}), folder, show=False)
            made[key] = folder
        return made[key]

    return run


RIVALS: tuple[dict[str, Any], ...] = (
    {"seed": 1},
    {"seed": 2, "adapter": {"method": "lora", "rank": 3, "layers": "all"}},
    {"seed": 3, "adapter": {"method": "none"}},
)
MORE_RIVALS: tuple[dict[str, Any], ...] = (
    {"seed": 4, "adapter": {"method": "ia3"}},
    {"seed": 5, "adapter": {"method": "bottleneck", "layers": "top-1"}},
)


@pytest.fixture(scope="session")
def rivals(quick_run: Trained) -> list[Path]:
    """Three runs of one data set that answer differently, trained from other seeds with other adapters."""
    return [quick_run("movies", {**change, "training.epochs": 2}) for change in RIVALS]


@pytest.fixture(scope="session")
def five_rivals(rivals: list[Path], quick_run: Trained) -> list[Path]:
    """Those three, and two more."""
    return rivals + [quick_run("movies", {**change, "training.epochs": 2}) for change in MORE_RIVALS]
