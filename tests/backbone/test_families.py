"""Every family of models: the stack is found, stored states replay exactly, recomputed gradients are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from llmrec_adapters.lora import Lora, LoraOptions

from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.backbone.trunk import Trunk, transformer_layers
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.identity import file_digest
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.testing.adapters.backbones import FAMILIES, make_tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Load a tiny backbone by name; each folder is written once."""
    root = tmp_path_factory.mktemp("families")

    def load(name: str, **fields: Any) -> Backbone:
        folder = root / name if (root / name).is_dir() else make_tiny(name, root / name)
        return load_backbone(BackboneSection(**{"name": str(folder), "precision": "fp32", **fields}), CPU)

    return load


def _encoded(backbone: Backbone, texts: tuple[str, ...]) -> EncodedTexts:
    tokens = TokenTable.of(texts, lambda some: backbone.tokenize(some, 48), backbone.pad_id)
    return EncodedTexts(TextEncoder(backbone.model, list(backbone.model.modules()), "mean", True, 3).eval(), tokens, 2)


@pytest.mark.parametrize("name", FAMILIES)
def test_replayed_states_are_the_full_pass(name: str, tiny: Any, texts: tuple[str, ...]) -> None:
    backbone = tiny(name)
    encoded, keys, ran = _encoded(backbone, texts), torch.arange(len(texts)), []
    layers = transformer_layers(backbone.model)
    assert len(layers) == backbone.depth == 4
    with torch.no_grad():
        full = encoded(keys)
        assert encoded.store_trunk(64.0)
        for number, layer in enumerate(layers):
            layer.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
        replayed = encoded(keys)
    assert set(ran) == {2, 3}
    torch.testing.assert_close(replayed, full, rtol=0, atol=1e-5)
    assert float((full @ full.T)[0, 2]) < 0.99  # texts differ, else this would prove nothing
    assert (backbone.kind == "decoder") == (name.split("-")[1] in {"llama", "qwen2", "mistral", "gemma", "gpt2"})


def test_a_replay_that_would_be_wrong_is_declined(tiny: Any, texts: tuple[str, ...]) -> None:
    backbone = tiny("tiny-bert")
    encoded, layers = _encoded(backbone, texts), transformer_layers(backbone.model)
    seen: dict[str, torch.Tensor] = {}
    layers[0].register_forward_hook(lambda _m, _a, out: seen.__setitem__("lowest", out))
    layers[3].register_forward_hook(lambda _m, _a, out: out + seen.pop("lowest", torch.zeros(())))
    assert not encoded.store_trunk(64.0)
    assert encoded._trunk is None


def test_a_family_that_reads_its_layers_attributes_is_served(
    tiny: Any, texts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrec_peft.backbone import trunk

    backbone = tiny("tiny-modernbert")
    monkeypatch.delattr(trunk._StandIn, "__getattr__")
    trunk_without = Trunk(backbone.model, _encoded(backbone, texts).tokens, 2)
    assert not trunk_without.replays_exactly()  # why the stand-ins delegate


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("name", ["tiny-bert", "tiny-llama"])
def test_recomputed_gradients_are_the_same(name: str, quantization: str, tiny: Any, texts: tuple[str, ...]) -> None:
    gradients, passes = [], []
    for recomputed in (False, True):
        backbone = tiny(name, quantization=quantization)
        frozen = list(backbone.model.modules())
        torch.manual_seed(0)
        model = Lora(LoraOptions(layers="all", dropout=0.0)).attach(backbone)
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.1)
        if recomputed:
            backbone.enable_gradient_checkpointing()
        tokens = TokenTable.of(texts, lambda some, b=backbone: b.tokenize(some, 48), backbone.pad_id)
        encoder = TextEncoder(model, frozen, "mean", True, 8).train()
        assert not any(isinstance(m, torch.nn.Dropout) and m.training for m in frozen)
        calls = [0]
        inner = next(transformer_layers(backbone.model)[-1].children())
        inner.register_forward_pre_hook(lambda *_, calls=calls: calls.__setitem__(0, calls[0] + 1))
        (EncodedTexts(encoder, tokens, 0)(torch.tensor([0, 2])) @ torch.linspace(-1, 1, 32)).sum().backward()
        passes.append(calls[0])
        gradients.append({n: p.grad for n, p in encoder.named_parameters() if p.grad is not None})
    assert passes == [1, 2]
    assert len(gradients[0]) == 4 * 2 * 2
    for key, gradient in gradients[0].items():
        assert float(gradient.abs().max()) > 0.0, key
        torch.testing.assert_close(gradients[1][key], gradient, rtol=1e-4, atol=1e-6, msg=key)


def test_tiny_backbones_are_the_same_every_time(tmp_path: Path) -> None:
    first, second = (make_tiny("tiny-gpt2", tmp_path / name) / "model.safetensors" for name in "ab")
    assert file_digest(first) == file_digest(second)
