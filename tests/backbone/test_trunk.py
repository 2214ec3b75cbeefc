"""The trunk: replaying stored states of frozen layers is the full pass, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.backbone.trunk import Trunk, transformer_layers

Make = Callable[..., tuple[Backbone, EncodedTexts]]
KEYS = torch.tensor([2, 0, 5, 1, 6, 4])


def _name(kind: str, tiny: Path) -> str:
    return "minilm" if kind == "minilm" else str(tiny)


@pytest.mark.parametrize("kind", ["minilm", "tiny"])
@pytest.mark.parametrize("layers", ["top-1", "top-2", (1, 3)])
def test_replay_gives_the_vectors_of_the_full_pass(
    kind: str, layers: object, tiny_backbone: Path, encoder_of: Make
) -> None:
    _, full = encoder_of(_name(kind, tiny_backbone), layers)
    _, replayed = encoder_of(_name(kind, tiny_backbone), layers, trunk=True)
    with torch.no_grad():
        torch.testing.assert_close(replayed(KEYS), full(KEYS), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["minilm", "tiny"])
def test_replay_gives_the_gradients_of_the_full_pass(kind: str, tiny_backbone: Path, encoder_of: Make) -> None:
    gradients = []
    weight = torch.linspace(-1, 1, 384 if kind == "minilm" else 32)
    for trunk in (False, True):
        _, encoded = encoder_of(_name(kind, tiny_backbone), trunk=trunk)
        encoded.encoder.train()
        (encoded(KEYS) @ weight).sum().backward()
        gradients.append({n: p.grad for n, p in encoded.encoder.named_parameters() if p.requires_grad})
    assert len(gradients[0]) == 2 * 2 * 2
    for name, gradient in gradients[0].items():
        assert gradient is not None
        assert float(gradient.abs().max()) > 1e-6, name
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_layers_below_the_adapter_do_not_run_again(tiny_backbone: Path, encoder_of: Make) -> None:
    backbone, encoded = encoder_of(str(tiny_backbone), "top-1", trunk=True)
    ran: list[int] = []
    layers = transformer_layers(backbone.model)
    for number, layer in enumerate(layers):
        layer.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
    encoded(KEYS)
    assert set(ran) == {3}


def test_layers_are_back_in_place_after_a_replay_even_one_that_failed(tiny_backbone: Path, encoder_of: Make) -> None:
    backbone, encoded = encoder_of(str(tiny_backbone), trunk=True)
    before = list(transformer_layers(backbone.model))
    encoded(KEYS)
    assert list(transformer_layers(backbone.model)) == before
    trunk = encoded._trunk
    assert trunk is not None
    with pytest.raises(RuntimeError), trunk.replayed(np.array([0])):
        raise RuntimeError
    assert list(transformer_layers(backbone.model)) == before


def test_trunk_is_stored_only_below_an_adapter_and_within_its_limit(tiny_backbone: Path, encoder_of: Make) -> None:
    _, encoded = encoder_of(str(tiny_backbone), "all")
    assert not encoded.store_trunk(1024.0)  # the lowest layer is adapted
    _, encoded = encoder_of(str(tiny_backbone), "top-1")
    megabytes = Trunk.megabytes(encoded.tokens, 32, torch.float32)
    assert megabytes == len(encoded.tokens.ids) * 32 * 4 / 2**20
    assert not encoded.store_trunk(megabytes * 0.99)
    assert encoded.store_trunk(megabytes)


def test_model_without_a_stack_of_layers_is_refused() -> None:
    with pytest.raises(TypeError, match="Linear has no stack of layers"):
        transformer_layers(torch.nn.Linear(2, 2))
