"""Numbers that are not finite end a training with where, what and which option to change; nothing is kept of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.errors import InputError, NotFiniteError
from llmrec_peft.evaluation.rating_metrics import mae, rmse
from llmrec_peft.experiment import fitting
from llmrec_peft.experiment.staging import recommender_of
from llmrec_peft.heads.calibration import fitted
from llmrec_peft.model import RecModel
from llmrec_peft.training import loop
from llmrec_peft.training.checkpoint import Checkpoint

pytestmark = pytest.mark.trains


def nothing_kept(folder: Path) -> bool:
    return not list(folder.rglob("progress.json"))


def test_loss_that_is_not_finite_stops_the_training_with_its_part_epoch_and_step(
    setting: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = RecModel.forward, [0]

    def forward(self: RecModel, batch: Any) -> Any:
        output = real(self, batch)
        calls[0] += 1
        if calls[0] == 3:
            self.loss_parts["head rating"] = torch.tensor(math.nan)
            output.loss = output.loss * math.nan
        return output

    monkeypatch.setattr(RecModel, "forward", forward)
    with pytest.raises(NotFiniteError) as raised:
        setting(training__checkpoint_seconds=3600.0).fit(tmp_path / "fit")
    said = str(raised.value)
    assert said.startswith("training diverged: loss is nan at epoch 1 step 3 (head rating); lower training.adapter")
    assert "training.clip_norm=1" in said
    assert isinstance(raised.value, InputError)
    assert nothing_kept(tmp_path)


def test_first_loss_is_the_datas_fault_or_the_bases(
    setting: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RecModel.forward

    def forward(self: RecModel, batch: Any) -> Any:
        output = real(self, batch)
        output.loss = output.loss * math.inf
        return output

    monkeypatch.setattr(RecModel, "forward", forward)
    with pytest.raises(NotFiniteError, match=r"loss is inf at epoch 1 step 1.*no step was taken before it"):
        setting().fit(tmp_path / "fit")
    assert nothing_kept(tmp_path)


@pytest.mark.parametrize("clip", [1.0, None])
def test_gradient_that_is_not_finite_is_seen_before_anything_is_saved(
    clip: float | None, setting: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = loop.total_norm, [0]

    def norm(gradients: list[torch.Tensor]) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            gradients[0].fill_(math.nan)
        return real(gradients)

    monkeypatch.setattr(loop, "total_norm", norm)
    with pytest.raises(NotFiniteError, match=r"the gradient's norm is nan at epoch 1 step 2; lower training.adapter"):
        setting(training__clip_norm=clip).fit(tmp_path / "fit")
    progress = [path.read_text() for path in tmp_path.rglob("progress.json")]
    assert all('"step": 1,' in text for text in progress), "the checkpoint of the step before stays"


def test_weight_that_is_not_finite_is_named_and_not_saved(
    setting: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop._Run._loss

    names = [name for name, _ in setting().model().parameter_groups()["embeddings"]]
    target = next(name for name in names if name.startswith("signal_parts."))

    def poison(self: Any, batch: Any) -> Any:
        loss = real(self, batch)
        with torch.no_grad():
            self.model.get_parameter(target).view(-1)[-1] = math.inf
        return loss

    monkeypatch.setattr(loop._Run, "_loss", poison)
    with pytest.raises(NotFiniteError) as raised:
        setting().fit(tmp_path / "fit")
    assert f"weights {target} are not finite in epoch 1" in str(raised.value) or "loss is" in str(raised.value)
    assert nothing_kept(tmp_path)


def test_validation_figure_that_is_not_finite_stops_the_training(
    setting: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting._Watch, "__call__", lambda self, model: math.nan)
    with pytest.raises(NotFiniteError, match="validation rmse is nan after epoch 1"):
        setting(training__checkpoint_seconds=3600.0).fit(tmp_path / "fit")
    assert nothing_kept(tmp_path)


def test_validation_scores_that_are_not_finite_say_after_which_epoch(
    setting: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RecModel.scores

    def scores(self: RecModel, *arguments: Any) -> Any:
        found = real(self, *arguments)
        found[2] = np.nan
        return found

    monkeypatch.setattr(RecModel, "scores", scores)
    monkeypatch.setattr(RecModel, "scores_in_time", scores)
    with pytest.raises(NotFiniteError, match=r"after epoch 1: 1 of \d+ predicted ratings are not finite"):
        setting(training__checkpoint_seconds=3600.0).fit(tmp_path / "fit")


@pytest.mark.parametrize("metric", [rmse, mae])
def test_rating_metrics_refuse_what_is_not_finite(metric: Callable[..., float]) -> None:
    with pytest.raises(NotFiniteError, match="1 of 3 predicted ratings are not finite: number 1 is nan"):
        metric(np.array([1.0, np.nan, 2.0]), np.ones(3))


def test_calibration_refuses_what_is_not_finite() -> None:
    with pytest.raises(NotFiniteError, match="scores to calibrate are not finite"):
        fitted("platt", np.array([0.5, np.nan]), np.array([1.0, 0.0]))


def test_text_whose_vector_overflows_is_named(
    setting: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base's weights are finite, what it computes of one text is not."""
    from llmrec_peft.backbone.encoded_texts import EncodedTexts

    real = EncodedTexts._covering

    def covering(self: EncodedTexts, *arguments: Any) -> Any:
        fixed = real(self, *arguments)
        fixed.table.stored[fixed.table.row_of[7], 3] = math.inf
        return fixed

    monkeypatch.setattr(EncodedTexts, "_covering", covering)
    chosen = setting()
    item = chosen.prepared.vocabulary.items[6]
    with pytest.raises(NotFiniteError, match=rf"vectors of 1 of \d+ texts are not finite, first that of item '{item}'"):
        chosen.texts()


def test_items_vectors_of_a_finished_model_are_looked_at(setting: Callable[..., Any], tmp_path: Path) -> None:
    chosen = setting(training__epochs=1)
    texts = chosen.texts()
    model = fitting.new_model(chosen.recipe, chosen.prepared, chosen.prepared.train, texts)
    with torch.no_grad():
        next(p for name, p in model.named_parameters() if "lora_B" in name).fill_(math.nan)
    with pytest.raises(NotFiniteError, match=r"the tuned model's vectors of .* items are not finite, first that of"):
        recommender_of(model, chosen.prepared, texts)


def test_checkpoint_is_only_saved_of_weights_that_are_finite(
    setting: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[bool] = []
    real = Checkpoint.save

    def save(self: Checkpoint, state: Any, model: RecModel, *more: Any) -> None:
        saved.append(all(bool(tensor.isfinite().all()) for tensor in model.trained_state().values()))
        real(self, state, model, *more)

    monkeypatch.setattr(Checkpoint, "save", save)
    setting(training__epochs=1).fit(tmp_path / "fit")
    assert saved
    assert all(saved)
