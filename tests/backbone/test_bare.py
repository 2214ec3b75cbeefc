"""BareTree: whatever a method put into the base comes out again, and goes back in, bit for bit."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llmrec_peft import registry
from llmrec_peft.backbone.bare import BareTree
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.backbone.preflight import refusal
from llmrec_peft.identity import tensors_digest
from llmrec_peft.testing.adapters.backbones import make_tiny

METHODS = sorted(set(registry.plugins("adapters")) - {"none"})
IDS = torch.arange(40, 64).reshape(3, 8)


def _states(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        states: torch.Tensor = model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).last_hidden_state
    return states


def _attached(backbone: Backbone, name: str) -> torch.nn.Module:
    """A method inside the base, its parameters drawn, so that it changes something."""
    method = registry.get("adapters", name)
    options = {"mode": "parallel"} if name == "bottleneck" else {}
    model: torch.nn.Module = method(method.Config(**options)).attach(backbone)
    torch.manual_seed(len(name))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, mean=0.1, std=0.1)
    return model


@pytest.fixture(scope="module", params=["tiny-bert", "tiny-llama"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of each kind."""
    return make_tiny(request.param, tmp_path_factory.mktemp(request.param) / request.param)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_every_method_comes_out_and_goes_back_in(
    quantization: str, folder: Path, load: Callable[..., Backbone]
) -> None:
    backbone = load(name=str(folder), quantization=quantization)
    modules, bare = list(backbone.model.modules()), _states(backbone.model)
    digest = tensors_digest(dict(backbone.model.named_parameters()))
    kept: dict[str, tuple[torch.nn.Module, BareTree, torch.Tensor]] = {}
    for name in METHODS:
        if refusal(name, registry.get("adapters", name).Config(), backbone.facts, quantization):
            continue
        model = _attached(backbone, name)
        tuned = _states(model)
        assert not torch.equal(tuned, bare), name
        kept[name] = (model, BareTree(backbone.model), tuned)
        backbone.detach()
        assert list(backbone.model.modules()) == modules, name
        assert torch.equal(_states(backbone.model), bare), name
    assert len(kept) >= 10
    for name in [*reversed(kept), *kept]:
        model, tree, tuned = kept[name]
        tree.restore()
        assert torch.equal(_states(model), tuned), name
        backbone.detach()
        assert torch.equal(_states(backbone.model), bare), name
    assert tensors_digest(dict(backbone.model.named_parameters())) == digest


@pytest.mark.parametrize("name", METHODS)
def test_detached_modules_are_freed(name: str, tiny_backbone: Path, load: Callable[..., Backbone]) -> None:
    backbone = load(name=str(tiny_backbone))
    model = _attached(backbone, name)
    own = [p for p in model.parameters() if p.requires_grad]
    watched = [weakref.ref(parameter) for parameter in own]
    _states(model)
    backbone.detach()
    del model, own
    gc.collect()
    assert not any(reference() is not None for reference in watched)
    assert not any(p.requires_grad for p in backbone.model.parameters())


def test_failed_attachment_leaves_the_base_as_it_was(tiny_backbone: Path, load: Callable[..., Backbone]) -> None:
    backbone = load(name=str(tiny_backbone))
    modules = list(backbone.model.modules())
    backbone.model.encoder.layer[1].attention.self.query = torch.nn.Identity()  # type: ignore[union-attr, index]
    backbone.model.encoder.layer[0].register_forward_pre_hook(lambda *_: None)  # type: ignore[union-attr, index]
    backbone.detach()
    assert list(backbone.model.modules()) == modules
    assert not backbone.model.encoder.layer[0]._forward_pre_hooks  # type: ignore[union-attr, index]
