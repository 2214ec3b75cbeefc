"""`full` and `bitfit`: the same training as writing into the weights, which stay as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from llmrec_adapters.bitfit import BitFit, BitFitOptions
from llmrec_adapters.full import Full, FullOptions

from llmrec_peft.backbone.load import Backbone
from llmrec_peft.backbone.preflight import require_method
from llmrec_peft.errors import InputError
from llmrec_peft.identity import tensors_digest

Fresh = Callable[..., Backbone]


def _inputs() -> dict[str, torch.Tensor]:
    ids = torch.arange(40, 64).reshape(3, 8)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _states(model: Any) -> torch.Tensor:
    with torch.no_grad():
        states: torch.Tensor = model(**_inputs()).last_hidden_state
    return states


def _train(model: Any, parameters: list[Any], rate: float = 0.01, steps: int = 5) -> None:
    torch.manual_seed(7)
    target = torch.randn(3, 8, 32)
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for _ in range(steps):
        (model(**_inputs()).last_hidden_state.float() - target).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-llama", "tiny-gpt2"])
def test_full_trains_as_writing_into_the_weights_does(name: str, fresh: Fresh) -> None:
    backbone = fresh(name)
    plain: Any = copy.deepcopy(backbone.model).requires_grad_(True)
    before = tensors_digest(dict(backbone.model.state_dict()))
    method = Full(FullOptions())
    model = method.attach(backbone)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == method.parameter_count(backbone.shapes)
    assert sum(p.numel() for p in trained) == sum(p.numel() for p in plain.parameters())
    _train(plain, list(plain.parameters()))
    _train(model, trained)
    assert torch.allclose(_states(model), _states(plain), atol=1e-3)
    backbone.detach()
    assert tensors_digest(dict(backbone.model.state_dict())) == before


def test_bitfit_trains_as_writing_into_the_biases_does(fresh: Fresh) -> None:
    backbone = fresh("tiny-bert")
    plain: Any = copy.deepcopy(backbone.model)
    biases = [p for n, p in plain.named_parameters() if n.startswith("encoder.layer.") and n.endswith("bias")]
    for bias in biases:
        bias.requires_grad_(True)
    method = BitFit(BitFitOptions())
    model = method.attach(backbone)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == len(biases)
    assert sum(p.numel() for p in trained) == method.parameter_count(backbone.shapes)
    _train(plain, biases)
    _train(model, trained)
    assert torch.allclose(_states(model), _states(plain), atol=1e-4)


def test_small_steps_are_not_rounded_away_in_bf16(fresh: Fresh) -> None:
    """A weight near 1 moves by 0.004 at least in bf16; written in place, steps of 1e-4 would all be lost."""
    backbone = fresh("tiny-llama", precision="bf16")
    model = Full(FullOptions(layers="top-1")).attach(backbone)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    _train(model, list(trained.values()), rate=1e-4)
    assert all(float(p.abs().max()) > 1e-4 for p in trained.values())


def test_merged_deltas_give_the_same_states(fresh: Fresh) -> None:
    for method in (Full(FullOptions(layers="top-2")), BitFit(BitFitOptions())):
        backbone = fresh("tiny-bert")
        model = method.attach(backbone)
        _train(model, [p for p in model.parameters() if p.requires_grad])
        tuned = _states(model)
        assert torch.allclose(_states(method.merge(model, backbone)), tuned, atol=1e-5)


def test_gradients_are_the_same_when_activations_are_recomputed(fresh: Fresh) -> None:
    """A recomputation must see W + δ too, not the bare W."""
    gradients = []
    for recomputed in (False, True):
        backbone = fresh("tiny-bert")
        model = Full(FullOptions(layers="top-2")).attach(backbone)
        torch.manual_seed(1)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.1)
        if recomputed:
            backbone.enable_gradient_checkpointing()
            for module in backbone.model.modules():
                module.training = bool(getattr(module, "gradient_checkpointing", False))
        model(**_inputs()).last_hidden_state.pow(2)[..., 0].sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) == 2 * 16
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_bitfit_is_refused_where_there_are_no_biases(fresh: Fresh) -> None:
    facts = fresh("tiny-llama").facts
    with pytest.raises(InputError, match=r"'bitfit': a llama of this configuration has no biases.*these work: .*lora"):
        require_method("bitfit", BitFitOptions(), facts, "none")
    with pytest.raises(InputError, match="has no biases"):
        BitFit(BitFitOptions()).attach(fresh("tiny-llama"))
    require_method("bitfit", BitFitOptions(), fresh("tiny-qwen2").facts, "none")


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_full_is_refused_on_quantized_weights_and_truly_cannot(quantization: str, fresh: Fresh) -> None:
    pytest.importorskip("bitsandbytes")
    backbone = fresh("tiny-bert", quantization=quantization)
    with pytest.raises(InputError, match=rf"'full': cannot train on {quantization} weights; 'full' works with .*none"):
        require_method("full", FullOptions(), backbone.facts, quantization)
    with pytest.raises(ValueError, match="quantized weights cannot be trained"):
        Full(FullOptions()).attach(backbone)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_quantized_weights_take_no_gradient_in_torch_itself(quantization: str, fresh: Fresh) -> None:
    """So the refusal of `full` is not ours alone."""
    pytest.importorskip("bitsandbytes")
    weight: Any = fresh("tiny-bert", quantization=quantization).model.encoder.layer[0].output.dense.weight  # type: ignore[union-attr, index]
    with pytest.raises(RuntimeError, match="floating point"):
        weight.requires_grad_(True)
