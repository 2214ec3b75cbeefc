"""AdaLoRA: the penalty is PEFT's, ranks fall to the budget, and what was trained is what is saved and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from llmrec_adapters.adalora import AdaLora, AdaLoraOptions
from safetensors.torch import load_file

from llmrec_peft.backbone.load import Backbone
from llmrec_peft.errors import InputError
from llmrec_peft.options import validated

Fresh = Callable[..., Backbone]
STEPS = 20


def _inputs() -> dict[str, torch.Tensor]:
    ids = torch.arange(1000, 1024).reshape(3, 8)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _states(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        states: torch.Tensor = model(**_inputs()).last_hidden_state
    return states


def _train(method: AdaLora, model: Any, first: int = 1, last: int = STEPS, optimizer: Any = None) -> Any:
    model.eval()
    torch.manual_seed(7)
    target = torch.randn(3, 8, 32)
    optimizer = optimizer or torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for step in range(first, last + 1):
        loss = (model(**_inputs()).last_hidden_state - target).pow(2).mean()
        penalty = method.regularization(model)
        (loss if penalty is None else loss + penalty).backward()
        optimizer.step()
        method.after_step(model, step, STEPS)
        optimizer.zero_grad()
    return optimizer


def _ranks(model: Any) -> list[int]:
    return [int((p != 0).sum()) for name, p in model.named_parameters() if "lora_E" in name]


def test_penalty_is_the_one_peft_adds_to_a_loss_of_the_models_own(fresh: Fresh) -> None:
    """With a head of ours the outputs carry no loss, so PEFT adds nothing."""
    method = AdaLora(AdaLoraOptions(orthogonality=0.3))
    model: Any = method.attach(fresh())
    tuner = model.base_model
    own = method.regularization(model)
    assert own is not None
    assert own.requires_grad
    assert not hasattr(model(**_inputs()), "loss")
    outputs = SimpleNamespace(loss=torch.zeros(()))
    tuner.model.forward = lambda *_, **__: outputs
    tuner.forward()
    assert float(own) == pytest.approx(float(outputs.loss), rel=1e-5)
    assert float(own) > 0.1


def test_ranks_fall_to_the_budget_and_come_back_from_disk(fresh: Fresh, tmp_path: Path) -> None:
    backbone = fresh()
    method = AdaLora(AdaLoraOptions(rank=2, initial_rank=4))
    model = method.attach(backbone)
    bare = _states(model)
    _train(method, model)
    assert sum(_ranks(model)) == 2 * 8  # layers · targets
    tuned = _states(model)
    assert float((tuned - bare).abs().max()) > 0.05
    method.save(model, backbone, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    kept = [sum(kept) for kept in config["rank_pattern"].values()]
    assert kept == [max(1, rank) for rank in _ranks(model)]  # no matrix without rows
    loaded = method.load(fresh(), tmp_path)
    assert torch.allclose(_states(loaded), tuned, atol=1e-5)
    method.save(loaded, backbone, tmp_path)  # a loaded one is saved again, as after further training
    assert torch.allclose(_states(method.load(fresh(), tmp_path)), tuned, atol=1e-5)


def test_plain_lora_form_gives_the_same_states_in_stock_peft(fresh: Fresh, tmp_path: Path) -> None:
    from peft import PeftModel

    backbone = fresh()
    method = AdaLora(AdaLoraOptions(rank=2, initial_rank=4, save_as_lora=True))
    model = method.attach(backbone)
    _train(method, model)
    tuned = _states(model)
    method.save(model, backbone, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))["peft_type"] == "LORA"
    assert torch.allclose(_states(PeftModel.from_pretrained(fresh().model, tmp_path)), tuned, atol=1e-5)
    loaded = method.load(fresh(), tmp_path)
    assert torch.allclose(_states(loaded), tuned, atol=1e-5)
    assert method.regularization(loaded) is None  # ranks stand: it goes on as plain LoRA
    method.after_step(loaded, 1, STEPS)
    assert method.state(loaded) == {}


def test_an_entry_that_averaging_brought_back_is_saved_too(fresh: Fresh, tmp_path: Path) -> None:
    """The allocator's pattern would drop it, and the served adapter would be another than the evaluated one."""
    backbone = fresh()
    method = AdaLora(AdaLoraOptions(rank=2, initial_rank=4))
    model = method.attach(backbone)
    _train(method, model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_E" in name:
                parameter[parameter == 0] = 0.5
    tuned = _states(model)
    method.save(model, backbone, tmp_path)
    assert torch.allclose(_states(method.load(fresh(), tmp_path)), tuned, atol=1e-5)


def test_resume_in_the_middle_of_allocation_is_exact(fresh: Fresh) -> None:
    method = AdaLora(AdaLoraOptions(rank=2, initial_rank=4))
    torch.manual_seed(0)
    whole = method.attach(fresh())
    _train(method, whole)

    torch.manual_seed(0)
    first = method.attach(fresh())
    optimizer = _train(method, first, 1, 9)
    kept = {name: p.detach().clone() for name, p in first.named_parameters() if p.requires_grad}
    state = {name: tensor.clone() for name, tensor in method.state(first).items()}
    assert any(name.startswith("exp_avg_unc/") for name in state)

    second = method.attach(fresh())
    with torch.no_grad():
        for name, parameter in second.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(kept[name])
    resumed = torch.optim.AdamW([p for p in second.parameters() if p.requires_grad], lr=0.05)
    resumed.load_state_dict(optimizer.state_dict())
    method.load_state(second, state)
    _train(method, second, 10, STEPS, resumed)
    assert torch.equal(_states(second), _states(whole))


def test_reset_forgets_ranks_and_importances(fresh: Fresh) -> None:
    method = AdaLora(AdaLoraOptions(rank=2, initial_rank=4))
    model = method.attach(fresh())
    _train(method, model)
    assert method.state(model)
    method.reset(model)
    assert method.state(model) == {}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_divisor_of_the_scale_stays_frozen(precision: str, fresh: Fresh) -> None:
    """PEFT makes it trainable when it casts a bf16 adapter to fp32, and never saves it."""
    model = AdaLora(AdaLoraOptions()).attach(fresh(precision=precision))
    divisors = [p for name, p in model.named_parameters() if "ranknum" in name]
    assert len(divisors) == 8
    assert not any(p.requires_grad for p in divisors)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": 9, "initial_rank": 8}, "rank 9 is above initial_rank 8"),
        ({"warmup": 0.6, "settled": 0.5}, "leave no step"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        validated(AdaLoraOptions, options, "adapter")


def test_a_saved_adapter_is_loaded_in_fp32_on_a_base_in_bf16(fresh: Fresh, tmp_path: Path) -> None:
    """PEFT makes matrices of the ranks that are left in the base's format, which rounds what was trained."""
    backbone = fresh("tiny-llama", precision="bf16")
    method = AdaLora(AdaLoraOptions(rank=2, initial_rank=4, layers="top-2"))
    model = method.attach(backbone)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.normal_()
            if "lora_E" in name:
                parameter[1] = 0.0
    method.save(model, backbone, tmp_path)
    backbone.detach()
    loaded = {name: p for name, p in method.load(backbone, tmp_path).named_parameters() if p.requires_grad}
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert {name.removesuffix(".default") for name in loaded} == stored.keys()
    for name, parameter in loaded.items():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, stored[name.removesuffix(".default")])
