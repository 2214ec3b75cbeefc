"""Bottleneck adapters: the arithmetic of the papers, in the right places of every family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from llmrec_adapters.bottleneck import Bottleneck, BottleneckOptions

from llmrec_peft.backbone.load import Backbone
from llmrec_peft.errors import InputError

Fresh = Callable[..., Backbone]


def _inputs() -> dict[str, torch.Tensor]:
    ids = torch.arange(40, 64).reshape(3, 8)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _stir(model: Any) -> None:
    torch.manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)


def _network(layer: Any, x: torch.Tensor) -> torch.Tensor:
    down, up = layer.bottleneck_down["default"], layer.bottleneck_up["default"]
    answer: torch.Tensor = torch.relu(x @ down.weight.T + down.bias) @ up.weight.T + up.bias
    return answer


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_network_reads_output_or_input_of_the_block(mode: Any, fresh: Fresh) -> None:
    """Against BERT's feed-forward block written out by hand."""
    backbone = fresh()
    options = BottleneckOptions(mode=mode, size=5, activation="relu", scale=2.0, layers="top-1")
    model: Any = Bottleneck(options).attach(backbone)
    _stir(model)
    block: Any = backbone.model.encoder.layer[3]  # type: ignore[union-attr, index]
    x = torch.randn(2, 3, 32)
    with torch.no_grad():
        inner = torch.nn.functional.gelu(block.intermediate.dense(x))
        h = block.output.dense.base_layer(inner)
        h = h + 2.0 * _network(block.output.dense, x if mode == "parallel" else h)
        expected = block.output.LayerNorm(h + x)
        found = block.output(block.intermediate(x), x)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-distilbert", "tiny-modernbert", "tiny-llama", "tiny-gpt2"])
@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_every_family_starts_as_identity_and_learns(name: str, mode: Any, fresh: Fresh) -> None:
    backbone = fresh(name)
    with torch.no_grad():
        bare = backbone.model(**_inputs()).last_hidden_state
    method = Bottleneck(BottleneckOptions(placement="houlsby", mode=mode, size=4))
    model = method.attach(backbone)
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(**_inputs()).last_hidden_state, bare)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 4 * 2 * 4  # layers · blocks · two weights and two biases
    assert sum(p.numel() for p in trained.values()) == method.parameter_count(backbone.shapes)
    _stir(model)
    model(**_inputs()).last_hidden_state.pow(2)[..., 0].sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in trained.values())
    backbone.detach()
    with torch.no_grad():
        assert torch.equal(backbone.model(**_inputs()).last_hidden_state, bare)
    assert not any(module._forward_pre_hooks for module in backbone.model.modules())


def test_merging_is_refused(fresh: Fresh) -> None:
    backbone = fresh()
    method = Bottleneck(BottleneckOptions())
    model = method.attach(backbone)
    with pytest.raises(InputError, match="cannot be merged"):
        method.merge(model, backbone)
