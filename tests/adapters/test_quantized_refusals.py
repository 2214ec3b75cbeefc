"""Refusals on quantized weights are true: plain PEFT cannot do it either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from llmrec_peft import registry
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.backbone.preflight import require_method
from llmrec_peft.backbone.through_peft.targets import pattern, target_linears
from llmrec_peft.errors import InputError

pytest.importorskip("bitsandbytes")
Fresh = Callable[..., Backbone]


def _plain(name: str, target: str) -> Any:
    from peft import LoHaConfig, LoKrConfig, LoraConfig

    return {
        "dora": LoraConfig(use_dora=True, target_modules=target),
        "loha": LoHaConfig(target_modules=target),
        "lokr": LoKrConfig(target_modules=target),
    }[name]


@pytest.mark.parametrize(("name", "quantization"), [("dora", "int8"), ("loha", "nf4"), ("lokr", "nf4")])
def test_plain_peft_fails_where_a_method_is_refused(name: str, quantization: str, fresh: Fresh) -> None:
    from peft import get_peft_model

    backbone = fresh("tiny-bert", quantization=quantization)
    with pytest.raises(InputError, match=f"{name!r}: cannot train on {quantization} weights"):
        require_method(name, registry.get("adapters", name).Config(), backbone.facts, quantization)
    target = pattern(target_linears(backbone.shapes, "query-value", "all"))
    ids = torch.arange(40, 64).reshape(3, 8)
    with pytest.raises((RuntimeError, AttributeError, TypeError, ValueError)):
        model = get_peft_model(backbone.model, _plain(name, target))
        for _ in range(3):  # DoRA's first step on 8 bits goes through and takes the scales away from the second
            states = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            states.float().pow(2).mean().backward()


@pytest.mark.parametrize(("name", "quantization"), [("adalora", "int8"), ("ia3", "nf4"), ("ia3", "int8")])
def test_layers_answer_in_the_format_they_were_asked_in(name: str, quantization: str, fresh: Fresh) -> None:
    """Plain PEFT's layers answer a bf16 input in fp32 here, and the attention behind them refuses the mixture."""
    backbone = fresh("tiny-bert", quantization=quantization, precision="bf16")
    method = registry.get("adapters", name)(registry.get("adapters", name).Config())
    model = method.attach(backbone)
    ids = torch.arange(40, 64).reshape(3, 8)
    states = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    assert states.dtype == torch.bfloat16
    states.float().pow(2)[..., 0].sum().backward()
    assert any(p.grad is not None and float(p.grad.abs().max()) > 0 for p in model.parameters())


@pytest.mark.parametrize("name", ["adalora", "ia3", "loha", "lokr"])
def test_merging_into_quantized_weights_is_refused_where_peft_cannot(name: str, fresh: Fresh) -> None:
    quantization = "nf4" if name in ("adalora", "ia3") else "int8"
    backbone = fresh("tiny-bert", quantization=quantization)
    method = registry.get("adapters", name)(registry.get("adapters", name).Config())
    assert not method.capabilities.merges(quantization)
    assert method.capabilities.merges("none")
    with pytest.raises(InputError, match="cannot be merged"):
        method.merge(method.attach(backbone), backbone)


def test_detaching_gives_the_base_back_bit_for_bit(fresh: Fresh) -> None:
    """bitsandbytes' int8 layer casts its own bias to whatever (IA)³ hands it."""
    backbone = fresh("tiny-bert", quantization="int8", precision="bf16")
    before = {name: p.clone() for name, p in backbone.model.named_parameters()}
    model = registry.get("adapters", "ia3")(registry.get("adapters", "ia3").Config()).attach(backbone)
    ids = torch.arange(40, 64).reshape(3, 8)
    model(input_ids=ids, attention_mask=torch.ones_like(ids))
    backbone.detach()
    after = dict(backbone.model.named_parameters())
    assert before.keys() == after.keys()
    for name, parameter in after.items():
        assert parameter.dtype == before[name].dtype, name
        assert torch.equal(parameter, before[name]), name
