"""Checkpoints: everything comes back bit for bit, and a kill leaves one that is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.data.batches import Batch
from llmrec_peft.identity import tensors_digest
from llmrec_peft.training.checkpoint import Checkpoint, FitState
from llmrec_peft.training.optimizer import Average, build_optimizer, build_schedule

pytestmark = pytest.mark.trains


class _State:
    """A model with optimizer, schedule and average, and a step to take."""

    def __init__(self, setting: Any) -> None:
        section = setting.recipe.training
        self.train = setting.prepared.train
        self.model = setting.model()
        self.optimizer = build_optimizer(self.model, section)
        self.schedule = build_schedule(self.optimizer, section, 20)
        self.average = Average(self.model, 0.9)
        self.parts = (self.model, self.optimizer, self.schedule, self.average)

    def step(self, number: int) -> float:
        self.model.train()
        rows = np.arange(number * 20, number * 20 + 20)
        loss = self.model(Batch.of(self.train, rows, torch.device("cpu"))).loss
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.average.update(number + 1)
        return loss.item()

    def digest(self) -> tuple[str, str, str, list[float]]:
        moments = {
            f"{at}/{name}": torch.as_tensor(value)
            for at, state in self.optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        rates = [group["lr"] for group in self.optimizer.param_groups]
        states = (self.model.trained_state(), self.average.state(), moments)
        model, average, optimizer = (tensors_digest(state) for state in states)
        return model, average, optimizer, rates


def test_everything_comes_back_bit_for_bit_and_goes_on_alike(setting: Callable[..., Any], tmp_path: Path) -> None:
    chosen = setting()
    torch.manual_seed(1)
    state = _State(chosen)
    torch.manual_seed(2)
    for number in range(3):
        state.step(number)
    progress = FitState(epoch=1, batch=2, step=3, loss=0.1 + 0.2, seconds=1.5, history=[1.25, 1 / 3])
    best = {name: tensor + 1 for name, tensor in state.model.trained_state().items()}
    checkpoint = Checkpoint(tmp_path / "fit")
    assert not checkpoint.exists()
    checkpoint.save(progress, *state.parts, best)
    saved = state.digest()
    losses = [state.step(number) for number in (3, 4)]
    end = state.digest()

    other = _State(chosen)
    torch.manual_seed(99)
    assert checkpoint.exists()
    assert not checkpoint.finished()
    loaded, loaded_best = checkpoint.load(*other.parts)
    assert loaded == progress
    assert loaded_best is not None
    assert tensors_digest(loaded_best) == tensors_digest(best)
    assert other.digest() == saved
    assert [other.step(number) for number in (3, 4)] == losses  # dropout goes on from the stored generator
    assert other.digest() == end


def test_checkpoint_holds_no_weight_of_the_frozen_model(setting: Callable[..., Any], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    state = _State(setting())
    Checkpoint(tmp_path / "fit").save(FitState(), *state.parts, None)
    assert sorted(path.name for path in (tmp_path / "fit").iterdir()) == ["progress.json", "state.safetensors"]
    frozen = {p.data_ptr() for p in state.model.parameters() if not p.requires_grad}
    names = {name for name, p in state.model.named_parameters() if p.data_ptr() in frozen and "encoder." in name}
    assert names
    assert not {f"model/{name}" for name in names} & set(load_file(tmp_path / "fit" / "state.safetensors"))


@pytest.mark.parametrize("renames", [0, 1])
def test_kill_between_the_renames_of_a_save_leaves_the_former_checkpoint(
    renames: int, setting: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = _State(setting())
    checkpoint = Checkpoint(tmp_path / "fit")
    checkpoint.save(FitState(step=1), *state.parts, None)
    former = tensors_digest(state.model.trained_state())
    state.step(0)
    real, left = Path.rename, [renames]

    def rename(path: Path, target: Any) -> Path:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", rename)
        checkpoint.save(FitState(step=2), *state.parts, None)
    assert (tmp_path / "fit").exists() == (renames == 0)
    again = Checkpoint(tmp_path / "fit")
    assert again.exists()
    other = _State(setting())
    progress, _ = again.load(*other.parts)
    assert progress.step == 1
    assert tensors_digest(other.model.trained_state()) == former
    again.save(FitState(step=3), *other.parts, None)  # what the kill left behind is in nobody's way
    assert again.load(*other.parts)[0].step == 3
    assert [path.name for path in tmp_path.iterdir()] == ["fit"]
