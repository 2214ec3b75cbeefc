"""The loop: accumulation, clipping, refit, averages, and a base model that training never changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from llmrec_adapters.lora import Lora, LoraOptions

from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.evaluation.rating_metrics import rmse
from llmrec_peft.experiment import fitting
from llmrec_peft.experiment.experiment import Experiment
from llmrec_peft.experiment.fitting import fit_variant
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.identity import tensors_digest
from llmrec_peft.training.checkpoint import Checkpoint
from llmrec_peft.training.loop import fit

pytestmark = pytest.mark.trains

CALM = {
    "head__dropout": 0.0,
    "adapter__dropout": 0.0,
    "signals__text__dropout": 0.0,
    "signals__collaborative__item_dropout": 0.0,
    "training__average": 0.0,
    "training__refit": False,
}
OVERFITTING = {
    "training__average": 0.0,
    "training__schedule": "constant",
    "training__warmup": 0.0,
    "training__embeddings__learning_rate": 0.2,
    "training__embeddings__weight_decay": 0.0,
}


@pytest.mark.parametrize("name", ["tiny", "minilm"])
def test_training_never_changes_the_base_model(name: str, setting: Callable[..., Any], tmp_path: Path) -> None:
    changes = {} if name == "tiny" else {"backbone__name": "minilm", "training__epochs": 2, "training__refit": False}
    chosen = setting(**changes)
    backbone = load_backbone(chosen.recipe.backbone, torch.device("cpu"))
    base = dict(backbone.model.named_parameters())  # kept by reference: an adapter renames, never copies
    before = tensors_digest(base)
    texts = Texts(backbone, chosen.prepared, chosen.recipe)
    experiment = Experiment(chosen.prepared, Accelerator(cpu=True), tmp_path, texts)
    fitted = fit_variant(experiment, chosen.recipe, "tuned", "t")
    trained = fitted.model.parameter_groups()["adapter"]
    assert max(float(p.detach().abs().max()) for n, p in trained if "lora_B" in n) > 1e-4  # it did train
    inside = {id(parameter) for parameter in fitted.model.encoder.model.parameters()}
    assert all(id(parameter) in inside for parameter in base.values())
    assert tensors_digest(base) == before


class _Watched(Lora):
    """LoRA that writes down when the loop asks for its penalty and reports its steps."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.penalties = 0
        self.steps: list[tuple[int, int]] = []

    def regularization(self, model: torch.nn.Module) -> torch.Tensor:
        self.penalties += 1
        return torch.stack([p.pow(2).sum() for n, p in model.named_parameters() if "lora_A" in n]).sum()

    def after_step(self, model: torch.nn.Module, step: int, total_steps: int) -> None:
        assert all(p.grad is not None for n, p in model.named_parameters() if "lora_" in n)
        self.steps.append((step, total_steps))


def test_method_is_asked_only_in_the_epochs_that_train_the_adapter(setting: Callable[..., Any], tmp_path: Path) -> None:
    """Four epochs, two of them with the adapter: AdaLoRA's ranks have to be given out within these."""
    chosen = setting(**CALM)
    model = chosen.model()
    watched = _Watched(LoraOptions(layers="top-2"))
    section = chosen.recipe.training
    fit(model, chosen.prepared.train, section, 1, Accelerator(cpu=True), Checkpoint(tmp_path), "t", watched)
    steps = len(watched.steps)
    assert watched.penalties == steps
    assert watched.steps == [(step, steps) for step in range(1, steps + 1)]
    assert steps == 2 * (steps // 2)
    unpenalised = chosen.model()
    torch.manual_seed(0)
    fit(
        unpenalised,
        chosen.prepared.train,
        section,
        1,
        Accelerator(cpu=True),
        Checkpoint(tmp_path / "u"),
        "t",
    )
    sizes = [sum(float(p.pow(2).sum()) for n, p in m.named_parameters() if "lora_A" in n) for m in (model, unpenalised)]
    assert sizes[0] < 0.9 * sizes[1]  # the penalty did reach the loss


def _weights(setting: Any, tmp_path: Path, **fields: Any) -> dict[str, torch.Tensor]:
    section = setting.recipe.training.model_copy(update=fields)
    model = setting.model()
    torch.manual_seed(0)
    fit(model, setting.prepared.train, section, 1, Accelerator(cpu=True), Checkpoint(tmp_path), "t")
    return {name: tensor.clone() for name, tensor in model.trained_state().items()}


def test_two_accumulated_half_batches_are_one_whole_batch(setting: Callable[..., Any], tmp_path: Path) -> None:
    chosen = setting(**CALM, training__adapter_epochs=None)
    rows = chosen.prepared.train
    kept = rows.take(torch.arange(len(rows) // 32 * 32).numpy())  # halves of equal size, so that means agree

    def weights(batch: int, accumulate: int, at: str) -> dict[str, torch.Tensor]:
        section = chosen.recipe.training.model_copy(
            update={"batching": "random", "batch_size": batch, "accumulate": accumulate, "epochs": 1}
        )
        texts = chosen.texts()
        model = fitting.new_model(chosen.recipe, chosen.prepared, kept, texts)
        fit(model, kept, section, 1, Accelerator(cpu=True), Checkpoint(tmp_path / at), "t")
        return model.trained_state()

    whole, halves = weights(32, 1, "whole"), weights(16, 2, "halves")
    differing = weights(16, 1, "other")
    for name, tensor in whole.items():
        torch.testing.assert_close(halves[name], tensor, rtol=1e-3, atol=2e-4, msg=name)
    assert any(not torch.allclose(differing[n], t, rtol=1e-3, atol=1e-2) for n, t in whole.items())


def test_gradients_are_clipped_to_the_norm(
    setting: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []
    real = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *arguments: Any, **named: Any) -> Any:
        gradients = [p.grad.norm() for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.stack(gradients).norm()))
        return real(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    chosen = setting(**CALM)
    _weights(chosen, tmp_path / "free", clip_norm=None, epochs=1)
    free, norms[:] = list(norms), []
    _weights(chosen, tmp_path / "clipped", clip_norm=0.05, epochs=1)
    assert max(free) > 0.1
    assert norms
    assert max(norms) <= 0.05 * 1.001


def test_best_epoch_on_validation_is_kept_and_refit_on_train_and_validation_for_as_many(
    setting: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    real = fitting.fit

    def spy(model: Any, train: Any, *arguments: Any) -> Any:
        result = real(model, train, *arguments)
        calls.append({"train": len(train), "validate": arguments[6], "epochs": arguments[7], "result": result})
        return result

    monkeypatch.setattr(fitting, "fit", spy)
    chosen = setting(**OVERFITTING, training__epochs=6, training__patience=1)
    fitted = chosen.fit(tmp_path)
    search, refit = calls
    prepared = chosen.prepared
    assert search["train"] == len(prepared.train)
    assert refit["train"] == len(prepared.train) + len(prepared.valid)
    history = search["result"].history
    assert search["result"].best == min(history)
    assert search["result"].best_epoch == history.index(min(history)) + 1
    assert len(history) < 6  # patience of one epoch was used up
    assert refit["validate"] is None
    assert refit["epochs"] == search["result"].best_epoch == refit["result"].best_epoch
    assert json.loads((tmp_path / "refit" / "progress.json").read_text())["epoch"] == refit["epochs"]
    assert fitted.search.history == history


def test_kept_weights_are_those_of_the_best_epoch(setting: Callable[..., Any], tmp_path: Path) -> None:
    chosen = setting(**OVERFITTING, training__refit=False, training__epochs=5)
    fitted = chosen.fit(tmp_path)
    valid = chosen.prepared.valid
    assert fitted.search.best_epoch < 5
    assert rmse(fitted.model.scores(valid), valid.label) == pytest.approx(fitted.search.best, abs=1e-6)


def test_each_epoch_has_its_time_and_the_tokens_that_trained_the_adapter(
    setting: Callable[..., Any], tmp_path: Path
) -> None:
    chosen = setting(training__epochs=3, training__adapter_epochs=2)
    search = chosen.fit(tmp_path / "fit").search
    assert len(search.epoch_seconds) == len(search.history) == 3
    assert list(search.epoch_seconds) == sorted(search.epoch_seconds)
    assert 0 < search.epoch_seconds[0] < search.epoch_seconds[-1] <= search.seconds
    texts = chosen.texts()
    read = np.unique(texts.tokens.row_of[np.unique(chosen.prepared.train.item)])
    tokens = int(texts.tokens.lengths(read).sum())
    assert search.epoch_tokens == (tokens, 2 * tokens, 2 * tokens), "an epoch by item reads each text once"
    again = chosen.fit(tmp_path / "fit").search
    assert (again.epoch_seconds, again.epoch_tokens) == (search.epoch_seconds, search.epoch_tokens)


def test_adapter_stands_still_after_its_epochs(setting: Callable[..., Any], tmp_path: Path) -> None:
    chosen = setting(**CALM, training__epochs=1, training__adapter_epochs=1)
    one = chosen.fit(tmp_path / "one").model.trained_state()
    longer = setting(**CALM, training__epochs=3, training__adapter_epochs=1, training__schedule="constant")
    shorter = setting(**CALM, training__epochs=1, training__adapter_epochs=1, training__schedule="constant")
    first = _weights(shorter, tmp_path / "a", warmup=0.0)
    later = _weights(longer, tmp_path / "b", warmup=0.0)
    adapters = [name for name in first if name.startswith("encoder.")]
    assert adapters
    assert all(torch.equal(first[name], later[name]) for name in adapters)
    name = "signal_parts.collaborative.user.weight"
    assert not torch.equal(first[name], later[name])
    assert one.keys() == first.keys()


def test_held_vectors_are_those_of_the_adapter_that_is_kept(setting: Callable[..., Any], tmp_path: Path) -> None:
    """With averaged weights the adapter has to take its average before its vectors are computed and held."""
    chosen = setting(training__adapter_epochs=1, training__adapter__learning_rate=0.05)
    model = chosen.model()
    items = torch.arange(chosen.prepared.vocabulary.num_items)
    seen: list[torch.Tensor] = []

    def validate(watched: Any) -> float:
        with watched.scoring():
            seen.append(watched.encoded(items).clone())
        return -float(len(seen))  # the last epoch is the best

    section, accelerator = chosen.recipe.training, Accelerator(cpu=True)
    result = fit(model, chosen.prepared.train, section, 1, accelerator, Checkpoint(tmp_path), "t", None, validate)
    assert result.best_epoch == len(seen) == 4
    assert torch.equal(seen[-1], seen[1])
    with model.scoring():
        anew = model.encoded(items)  # from the texts, by the adapter that was kept
    torch.testing.assert_close(anew, seen[-1], rtol=0, atol=1e-6)
