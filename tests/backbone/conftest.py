"""Fixtures of the backbone's tests: real MiniLM in fp32, a few texts, encoders over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from llmrec_adapters.lora import Lora, LoraOptions

from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.recipe.sections import BackboneSection

TEXTS = (
    "Heat (1995). Genres: Action, Crime, Thriller.",
    "Toy Story",
    "A very long description of a film in which nothing happens for a very long time, and then it ends at sea.",
    "Toy Story",
    "Il Postino (1994). Genres: Drama, Romance.",
    "",
    "Babe",
)
CPU = torch.device("cpu")


@pytest.fixture
def texts() -> tuple[str, ...]:
    """Texts of different lengths, one of them twice, one empty."""
    return TEXTS


@pytest.fixture
def load() -> Callable[..., Backbone]:
    """Load a fresh backbone by the fields of its section."""

    def make(**fields: Any) -> Backbone:
        return load_backbone(BackboneSection(**{"precision": "fp32", **fields}), CPU)

    return make


@pytest.fixture(scope="session")
def minilm() -> Backbone:
    """Real MiniLM in fp32 for tests that only read it."""
    return load_backbone(BackboneSection(name="minilm", precision="fp32"), CPU)


@pytest.fixture
def encoder_of() -> Iterator[Callable[..., tuple[Backbone, EncodedTexts]]]:
    """An encoder with LoRA in chosen layers of a fresh backbone, its B matrices drawn, so that it adds something."""

    def make(name: str, layers: Any = "top-2", trunk: bool = False, **fields: Any) -> tuple[Backbone, EncodedTexts]:
        backbone = load_backbone(BackboneSection(name=name, precision="fp32"), CPU)
        frozen = list(backbone.model.modules())
        method = Lora(LoraOptions(layers=layers, dropout=fields.pop("dropout", 0.0)))
        torch.manual_seed(0)
        model = method.attach(backbone)
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.1)
        tokens = TokenTable.of(TEXTS, lambda some: backbone.tokenize(some, 48), backbone.pad_id)
        lowest = method.lowest_layer(backbone)
        encoder = TextEncoder(model, frozen, "mean", True, **{"chunk": 3, **fields}).eval()
        encoded = EncodedTexts(encoder, tokens, lowest)
        if trunk:
            assert encoded.store_trunk(64.0)
        return backbone, encoded

    yield make
