"""Batches by user: whole sequences while the adapter is trained, with their own items as candidates; then shuffled."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from pydantic import ValidationError

from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.negatives import CandidateSampler
from llmrec_peft.experiment.experiment import Experiment
from llmrec_peft.experiment.fitting import fit_variant
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.recipe import load_recipe
from llmrec_peft.recipe.sections import TrainingSection
from llmrec_peft.training.epoch_orders import EpochOrders

pytestmark = pytest.mark.trains

Seen = dict[int, list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]]
USERS, SIZE = 5, 64


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Users, items and candidates of every step, by epoch."""
    found: Seen = defaultdict(list)
    add = CandidateSampler.add

    def watched(sampler: CandidateSampler, batch: Batch, epoch: int, *arguments: Any, **named: Any) -> None:
        add(sampler, batch, epoch, *arguments, **named)
        assert batch.candidates is not None
        found[epoch].append((batch.user.numpy(), batch.item.numpy(), batch.candidates.numpy()))

    monkeypatch.setattr(CandidateSampler, "add", watched)
    return found


def test_sequences_stay_whole_until_the_adapter_is_frozen(
    tiny_data: Path, tiny_backbone: Path, tmp_path: Path, seen: Seen
) -> None:
    changes = {
        "data.path": str(tiny_data),
        "backbone.name": str(tiny_backbone),
        "backbone.precision": "fp32",
        "adapter.method": "lora",
        "adapter.layers": "top-2",
        "head.negatives": "catalogue",
        "training.batching": "by-user",
        "training.users_per_batch": USERS,
        "training.batch_size": SIZE,
        "training.adapter_epochs": 1,
        "training.epochs": 2,
        "training.patience": None,
        "training.refit": False,
    }
    prepared = prepare(load_recipe("movies-ranking", changes=changes))
    texts = Texts(load_backbone(prepared.recipe.backbone, torch.device("cpu")), prepared, prepared.recipe)
    experiment = Experiment(prepared, Accelerator(cpu=True), tmp_path, texts)
    fitted = fit_variant(experiment, prepared.recipe, "tuned", "t")
    train, catalogue = prepared.train, prepared.vocabulary.num_items - 1
    assert list(seen) == [0, 1]
    rows_of = np.bincount(train.user)
    for user, item, candidates in seen[0]:
        together, rows = np.unique(user, return_counts=True)
        assert len(together) <= USERS
        assert np.array_equal(rows, rows_of[together]), "a user's interactions are all in one batch"
        assert np.array_equal(candidates, np.unique(item))
    assert {len(candidates) for _, _, candidates in seen[1]} == {catalogue}
    assert [len(user) for user, _, _ in seen[1]][:-1] == [SIZE] * (len(seen[1]) - 1)
    adapter = fitted.model.parameter_groups()["adapter"]
    assert max(float(p.detach().abs().max()) for name, p in adapter if "lora_B" in name) > 1e-5


def test_chosen_examples_are_shuffled_too_once_the_adapter_is_frozen() -> None:
    user = np.repeat(np.arange(1, 41), 5)
    train = Interactions(user, np.arange(1, 201), np.ones(200, np.float32), np.arange(200))
    section = TrainingSection.model_validate(
        {"batching": "by-user", "users_per_batch": 4, "batch_size": 50, "adapter_epochs": 1, "epochs": 2}
    )
    orders = EpochOrders(train, section, 1, 1, lambda epoch: np.arange(0, 200, 1 + epoch))
    whole = [np.unique(user[rows], return_counts=True) for rows in orders.of(0).epoch(0)]
    assert all(len(users) == 4 and (counts == 5).all() for users, counts in whole)
    assert [len(rows) for rows in orders.of(1).epoch(1)] == [50, 50]


@pytest.mark.parametrize(
    ("change", "said"),
    [({"newest": 1}, "set adapter_epochs"), ({"other_texts": "stored", "adapter_epochs": 1}, "other_texts: stored")],
)
def test_what_would_leave_nothing_of_whole_sequences_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainingSection.model_validate({"batching": "by-user", **change})
