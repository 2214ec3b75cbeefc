"""LoRA's options: scale, starts and rates, each against PEFT's own or plain arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from llmrec_adapters.lora import Lora, LoraOptions

from llmrec_peft.backbone.load import Backbone
from llmrec_peft.errors import InputError
from llmrec_peft.identity import tensors_digest
from llmrec_peft.options import validated

Fresh = Callable[..., Backbone]


def _inputs() -> dict[str, torch.Tensor]:
    ids = torch.arange(1000, 1024).reshape(3, 8)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _states(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        states: torch.Tensor = model(**_inputs()).last_hidden_state
    return states


def _train(model: Any, steps: int = 5) -> None:
    model.eval()
    torch.manual_seed(7)
    target = torch.randn(3, 8, 32)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=20.0)
    for _ in range(steps):
        (model(**_inputs()).last_hidden_state - target).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_rslora_scales_by_the_root_of_the_rank(fresh: Fresh) -> None:
    outputs = []
    for options in (LoraOptions(rank=4, alpha=8, rslora=True), LoraOptions(rank=4, alpha=16)):
        model = Lora(options).attach(fresh())
        torch.manual_seed(0)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.1)
        outputs.append(_states(model))
    assert torch.allclose(outputs[0], outputs[1], atol=1e-6)  # 8 / √4 = 16 / 4


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_start_trains_as_pefts_own_does_and_leaves_the_base_alone(start: Any, fresh: Fresh, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    from llmrec_peft.backbone.through_peft.targets import pattern, target_linears

    backbone = fresh()
    before = tensors_digest(dict(backbone.model.state_dict()))
    bare = _states(backbone.model)
    method = Lora(LoraOptions(rank=4, alpha=4, start=start))
    model = method.attach(backbone)
    assert torch.allclose(_states(model), bare, atol=1e-5)
    _train(model)
    ours = _states(model)
    assert float((ours - bare).abs().max()) > 0.05

    theirs = fresh()
    target = pattern(target_linears(theirs.shapes, "query-value", "all"))
    config = LoraConfig(r=4, lora_alpha=4, init_lora_weights=start, target_modules=target)
    reference = get_peft_model(theirs.model, config)
    _train(reference)
    assert torch.allclose(ours, _states(reference), atol=2e-3)

    method.save(model, backbone, tmp_path)
    backbone.detach()
    assert tensors_digest(dict(backbone.model.state_dict())) == before
    stock = PeftModel.from_pretrained(fresh().model, tmp_path)  # any peft, an untouched base
    assert torch.allclose(_states(stock), ours, atol=1e-5)
    merged = method.merge(method.load(fresh(), tmp_path), fresh())
    assert torch.allclose(_states(merged), ours, atol=1e-4)


def test_start_merges_what_was_taken_off_too(fresh: Fresh) -> None:
    backbone = fresh()
    method = Lora(LoraOptions(rank=4, start="pissa"))
    model = method.attach(backbone)
    _train(model)
    tuned = _states(model)
    assert torch.allclose(_states(method.merge(model, backbone)), tuned, atol=1e-4)


def test_start_works_on_four_bit_weights(fresh: Fresh) -> None:
    pytest.importorskip("bitsandbytes")
    backbone = fresh(quantization="nf4")
    bare = _states(backbone.model)
    model = Lora(LoraOptions(rank=4, start="pissa")).attach(backbone)
    assert torch.allclose(_states(model), bare, atol=1e-4)
    _train(model)
    assert float((_states(model) - bare).abs().max()) > 0.05


def test_start_with_dropout_is_refused() -> None:
    with pytest.raises(InputError, match="dropout blurs what start=pissa takes off again"):
        validated(LoraOptions, {"start": "pissa", "dropout": 0.1}, "adapter")


def test_rate_ratio_reaches_b_alone(fresh: Fresh) -> None:
    method = Lora(LoraOptions(rate_ratio=16))
    model = method.attach(fresh())
    factors = {
        name.split(".lora_")[1][0]: method.learning_rate_factor(name)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    assert factors == {"A": 1.0, "B": 16.0}


def test_rank_above_the_width_is_refused_before_loading(fresh: Fresh) -> None:
    facts = fresh().facts
    said = Lora(LoraOptions(rank=33)).refusal(facts, "none")
    assert said == "adapter.rank: 33 is above the model's width 32"
    assert Lora(LoraOptions(rank=32)).refusal(facts, "none") is None
    assert Lora(LoraOptions(layers="top-9")).refusal(facts, "none") is not None
