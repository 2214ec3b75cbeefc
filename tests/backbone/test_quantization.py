"""Weights in 8 and 4 bits through bitsandbytes: they load, answer and let an adapter learn on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from llmrec_adapters.lora import Lora, LoraOptions

from llmrec_peft.backbone.load import Backbone
from llmrec_peft.identity import tensors_digest

bitsandbytes = pytest.importorskip("bitsandbytes")
LAYERS = {"int8": "Linear8bitLt", "nf4": "Linear4bit"}


def _inputs() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(1000, 2000, (8, 12))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, torch.randn(8)


def _quantized(module: torch.nn.Module, kind: str) -> list[Any]:
    return [layer for layer in module.modules() if type(layer).__name__ == LAYERS[kind]]


def _train(model: torch.nn.Module, steps: int, rate: float = 2e-2) -> list[float]:
    inputs, target = _inputs()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    losses = []
    for _ in range(steps):
        vectors = model(**inputs).last_hidden_state.float().mean(1)
        loss = (vectors[:, 0] - target).pow(2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_quantized_minilm_stays_near_the_whole_one(kind: str, minilm: Backbone, load: Callable[..., Backbone]) -> None:
    small = load(name="minilm", quantization=kind)
    assert len(_quantized(small.model, kind)) == 6 * 6
    assert small.identity.quantization == {"int8": "int8", "nf4": "nf4-double"}[kind]
    assert not any(parameter.requires_grad for parameter in small.model.parameters())
    inputs, _ = _inputs()
    with torch.no_grad():
        exact = minilm.model(**inputs).last_hidden_state.mean(1)
        rough = small.model(**inputs).last_hidden_state.float().mean(1)
    cosine = torch.nn.functional.cosine_similarity(exact, rough)
    assert float(cosine.min()) > (0.99 if kind == "int8" else 0.9)
    assert float((exact - rough).abs().max()) > 1e-4  # else nothing was quantized


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_lora_learns_on_quantized_weights_and_leaves_them_alone(
    kind: str, tiny_backbone: Path, load: Callable[..., Backbone]
) -> None:
    backbone = load(name=str(tiny_backbone), quantization=kind)
    torch.manual_seed(0)
    model = Lora(LoraOptions()).attach(backbone)
    frozen = {name: parameter for name, parameter in model.named_parameters() if not parameter.requires_grad}
    before = tensors_digest(frozen)
    losses = _train(model, 12)
    assert losses[-1] < 0.7 * losses[0]
    assert tensors_digest(frozen) == before


def test_nf4_layers_never_repack_for_inference(tiny_backbone: Path, load: Callable[..., Backbone]) -> None:
    backbone = load(name=str(tiny_backbone), quantization="nf4")
    layers = _quantized(backbone.model, "nf4")
    assert len(layers) == 4 * 6
    assert [layer.support_avx512bf16_for_cpu for layer in layers] == [False] * len(layers)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_nf4_gradients_after_an_evaluation_pass_are_those_without_it(
    precision: str, tiny_backbone: Path, load: Callable[..., Backbone]
) -> None:
    """An evaluation pass repacks 4-bit weights where it may, and gradients through frozen layers are lost."""
    gradients = []
    for evaluated_first in (False, True):
        backbone = load(name=str(tiny_backbone), quantization="nf4", precision=precision)
        torch.manual_seed(0)
        model = Lora(LoraOptions()).attach(backbone)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        inputs, _ = _inputs()
        if evaluated_first:
            model.eval()
            with torch.no_grad():
                model(**inputs)
            model.train()
        model.eval()  # as the encoder holds frozen modules: no dropout
        model(**inputs).last_hidden_state.float().pow(2)[..., 0].mean().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    fresh, after = gradients
    assert fresh.keys() == after.keys()
    assert len(fresh) == 4 * 2 * 2
    for name, gradient in fresh.items():
        assert float(gradient.abs().max()) > 0.0, name
        torch.testing.assert_close(after[name], gradient, rtol=1e-5, atol=1e-7, msg=name)


def test_nf4_trains_as_far_with_evaluations_in_between(tiny_backbone: Path, load: Callable[..., Backbone]) -> None:
    ends = []
    for evaluated_first in (False, True):
        backbone = load(name=str(tiny_backbone), quantization="nf4", precision="bf16")
        torch.manual_seed(0)
        model = Lora(LoraOptions()).attach(backbone)
        if evaluated_first:
            model.eval()
            with torch.no_grad():
                model(**_inputs()[0])
        model.eval()
        ends.append(_train(model, 10)[-1])
    assert ends[1] == pytest.approx(ends[0], rel=1e-3)
