"""A text's vector in half precision: the same bits alone, among others, stored, replayed and with inserted vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llmrec_adapters.lora import Lora, LoraOptions

from llmrec_peft.backbone.chunks import STEP, TOKENS_CPU, chunks, steady_chunks
from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.testing.adapters.backbones import make_tiny

WORDS = "heat toy story babe postino long film in which nothing happens at sea crime drama romance".split()


def _texts(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 24))) for _ in range(count)]


@pytest.fixture(scope="module")
def encoded_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EncodedTexts]:
    """Texts with an encoder in bf16, LoRA in the two upper layers of a real or tiny model."""

    def make(name: str, texts: list[str], precision: str = "bf16") -> EncodedTexts:
        if name != "minilm":
            folder = tmp_path_factory.getbasetemp() / name
            name = str(folder if folder.is_dir() else make_tiny(name, folder))
        backbone = load_backbone(BackboneSection(name=name, precision=precision), torch.device("cpu"))
        frozen = list(backbone.model.modules())
        torch.manual_seed(0)
        method = Lora(LoraOptions(layers="top-2"))
        tuned = method.attach(backbone)
        for path, parameter in tuned.named_parameters():
            if "lora_B" in path:
                torch.nn.init.normal_(parameter, std=0.1)
        reader = backbone.reads(BackboneSection())
        encoder = reader.encoder(tuned, frozen).eval()
        return EncodedTexts(encoder, reader.tokenized(texts, 48), method.lowest_layer(backbone))

    return make


@pytest.mark.parametrize("name", ["minilm", "tiny-bert", "tiny-llama"])
@torch.no_grad()
def test_a_text_has_the_same_bits_whichever_texts_are_asked_for_with_it(
    name: str, encoded_of: Callable[..., EncodedTexts]
) -> None:
    texts = _texts(40)
    encoded = encoded_of(name, texts)
    whole = encoded(torch.arange(40))
    assert torch.equal(encoded(torch.tensor([7])), whole[[7]])
    assert torch.equal(encoded(torch.tensor([3, 30, 11])), whole[[3, 30, 11]])
    assert torch.equal(torch.cat([encoded(torch.tensor([key])) for key in range(40)]), whole)
    assert torch.equal(encoded_of(name, [*_texts(25, seed=1), *texts])(torch.arange(25, 65)), whole)
    with encoded.fixed(np.arange(4)) as some:
        assert torch.equal(some[:4], whole[:4])
        with encoded.fixed(np.arange(9)) as more:
            assert torch.equal(more[:9], whole[:9])


@pytest.mark.parametrize("name", ["minilm", "tiny-llama"])
@torch.no_grad()
def test_stored_states_give_the_same_bits_as_the_whole_pass(name: str, encoded_of: Callable[..., EncodedTexts]) -> None:
    encoded = encoded_of(name, _texts(30))
    whole = encoded(torch.arange(30))
    assert encoded.store_trunk(64.0)
    assert torch.equal(encoded(torch.arange(30)), whole)
    assert torch.equal(encoded(torch.tensor([5, 6])), whole[[5, 6]])


@torch.no_grad()
def test_texts_with_inserted_vectors_do_not_depend_on_each_other_either(
    encoded_of: Callable[..., EncodedTexts],
) -> None:
    encoded, keys = encoded_of("minilm", _texts(20)), torch.arange(20)
    inserted = torch.randn(20, 2, 384, generator=torch.Generator().manual_seed(0))
    whole = encoded.with_inserted(keys, inserted)
    alone = torch.cat([encoded.with_inserted(keys[[key]], inserted[[key]]) for key in range(20)])
    assert torch.equal(alone, whole)


@torch.no_grad()
def test_in_fp32_neighbours_change_a_vector_by_rounding_only(encoded_of: Callable[..., EncodedTexts]) -> None:
    encoded = encoded_of("minilm", _texts(40), "fp32")
    whole = encoded(torch.arange(40))
    alone = torch.cat([encoded(torch.tensor([key])) for key in range(40)])
    torch.testing.assert_close(alone, whole, rtol=0, atol=1e-6)


def test_the_shape_of_a_pass_follows_from_a_text_s_own_length(tiny_backbone: Path) -> None:
    backbone = load_backbone(BackboneSection(name=str(tiny_backbone), precision="bf16"), torch.device("cpu"))
    shape_of: dict[int, Any] = {}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, 65, rng.integers(1, 90))
        kinds = rng.integers(0, 2, len(lengths))
        passes = list(steady_chunks(lengths, kinds, 64, backbone.model))
        assert sorted(np.concatenate([one.at for one in passes])) == list(range(len(lengths)))
        for one in passes:
            assert one.width is not None
            assert len(set(kinds[one.at])) == 1
            assert len(one.filled()) == one.rows
            assert one.rows * one.width <= TOKENS_CPU
            for length in lengths[one.at]:
                padded = length < one.width
                assert one.width <= length + STEP if padded else length >= 32  # beyond half the window: exactly as long
                assert shape_of.setdefault(int(length), (one.rows, one.width)) == (one.rows, one.width)
    assert set(shape_of) == set(range(1, 65))


def test_training_pads_as_little_as_it_did(tiny_backbone: Path) -> None:
    lengths = np.array([5, 9, 30, 6, 7])
    passes = list(chunks(lengths, np.zeros(5, np.int64), 2))
    assert [one.at.tolist() for one in passes] == [[0, 3], [4, 1], [2]]
    assert all(one.width is None and one.rows == len(one.at) for one in passes)
