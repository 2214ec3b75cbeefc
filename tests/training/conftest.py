"""Fixtures of the training tests: fits of the tiny backbone over made-up films, in process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.experiment.experiment import Experiment
from llmrec_peft.experiment.fitting import FittedVariant, fit_variant, new_model
from llmrec_peft.experiment.prepare import Prepared, prepare
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.identity import tensors_digest
from llmrec_peft.model import RecModel
from llmrec_peft.recipe import Recipe, load_recipe


@dataclass
class Setting:
    """A recipe with its data, from which fresh models and fits are made."""

    recipe: Recipe
    prepared: Prepared

    def texts(self) -> Texts:
        """A freshly loaded language model over the texts."""
        return Texts(load_backbone(self.recipe.backbone, torch.device("cpu")), self.prepared, self.recipe)

    def model(self) -> RecModel:
        """A fresh model on the training part."""
        return new_model(self.recipe, self.prepared, self.prepared.train, self.texts())

    def fit(self, work: Path) -> FittedVariant:
        """Fit in `work`, going on from what lies there."""
        experiment = Experiment(self.prepared, Accelerator(cpu=True), work.parent, self.texts())
        return fit_variant(experiment, self.recipe, work.name, "test")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Bit-for-bit comparisons within a process hold for a fixed number of threads."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def setting(tiny_data: Path, tiny_backbone: Path) -> Callable[..., Setting]:
    """The movies recipe over the tiny backbone with all that a resume has to bring back, and changes to it."""
    base: dict[str, Any] = {
        "data.path": str(tiny_data),
        "backbone.name": str(tiny_backbone),
        "backbone.precision": "fp32",
        "adapter.layers": "top-2",
        "adapter.dropout": 0.1,
        "signals.text.dropout": 0.2,
        "signals.collaborative.item_dropout": 0.2,
        "head.dropout": 0.2,
        "training.epochs": 4,
        "training.adapter_epochs": 2,
        "training.average": 0.99,
        "training.warmup": 0.2,
        "training.schedule": "cosine",
        "training.items_per_batch": 8,
        "training.patience": None,
        "training.checkpoint_seconds": 0.0,
        "training.adapter.learning_rate": 0.01,
    }

    def make(**changes: Any) -> Setting:
        given = {name.replace("__", "."): value for name, value in changes.items()}
        kept = {name: value for name, value in base.items() if not ("adapter" in given and name.startswith("adapter."))}
        prepared = prepare(load_recipe("movies", changes={**kept, **given}))
        recipe = prepared.recipe
        return Setting(recipe, prepared)

    return make


@pytest.fixture(scope="session")
def digest_of() -> Callable[[FittedVariant], tuple[str, Any]]:
    """Everything that a fit decides: weights by digest, predictions and validation figures to the last bit."""

    def digest(fitted: FittedVariant) -> tuple[str, Any]:
        search = fitted.search
        return tensors_digest(fitted.model.trained_state()), (
            {name: outcome.tobytes() for name, outcome in fitted.valid.items()},
            search.history,
            search.best,
            search.best_epoch,
        )

    return digest
