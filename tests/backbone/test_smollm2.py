"""Real SmolLM2: the GGUF file's own weights and tokenizer, a decoder whose vectors padding does not touch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llmrec_adapters.lora import Lora, LoraOptions
from safetensors import safe_open

from llmrec_peft.backbone.aliases.smollm2 import SMOLLM2
from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.backbone.locate import locate
from llmrec_peft.backbone.preflight import known_facts
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.recipe.sections import BackboneSection

pytestmark = pytest.mark.trains

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder() -> Path:
    """Real SmolLM2, converted at the first use on this machine."""
    return locate("smollm2").folder


@pytest.fixture(scope="module")
def whole() -> Backbone:
    """Real SmolLM2 in bf16."""
    return load_backbone(BackboneSection(name="smollm2", precision="bf16"), CPU)


@pytest.fixture(scope="module")
def low(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lowest three layers of real SmolLM2: as wide, and ten times as quick to quantize."""
    cut = tmp_path_factory.mktemp("smollm2-low")
    for path in folder.iterdir():
        if path.name != "config.json":
            (cut / path.name).symlink_to(path)
    config = json.loads((folder / "config.json").read_text())
    (cut / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    return cut


def test_it_is_the_converted_decoder_and_its_facts_were_known_before(whole: Backbone) -> None:
    assert SMOLLM2.gguf is not None
    assert whole.identity.weights_sha256 == SMOLLM2.gguf.converted_sha256
    assert (whole.kind, whole.width, whole.depth) == ("decoder", 576, 30)
    assert whole.facts == SMOLLM2.facts == known_facts("smollm2")
    assert {parameter.dtype for parameter in whole.model.parameters()} == {torch.bfloat16}
    assert sum(parameter.numel() for parameter in whole.model.parameters()) == 134_515_008
    assert not any(parameter.requires_grad for parameter in whole.model.parameters())


def test_configuration_is_plain_and_the_tied_head_is_held_once(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert not [key for key in config if key.startswith("_")]
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        names = set(tensors.keys())
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names


def test_weights_are_those_of_the_file_by_another_reader(folder: Path) -> None:
    """Values that gguf's own dequantization gives; llama.cpp keeps queries and keys with their halves interleaved."""
    gguf = pytest.importorskip("gguf")
    package = SMOLLM2.embedded()
    assert package is not None
    assert SMOLLM2.gguf is not None
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(package / SMOLLM2.gguf.file).tensors}

    def read(name: str) -> torch.Tensor:
        tensor = tensors[name]
        return torch.from_numpy(np.array(gguf.dequantize(tensor.data, tensor.tensor_type), np.float32))

    def halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
        return weight.reshape(heads, 32, 2, 576).transpose(1, 2).reshape(heads * 64, 576)

    expected = {
        "model.layers.29.mlp.down_proj.weight": read("blk.29.ffn_down.weight"),
        "model.layers.7.self_attn.q_proj.weight": halves(read("blk.7.attn_q.weight"), 9),
        "model.layers.7.self_attn.k_proj.weight": halves(read("blk.7.attn_k.weight"), 3),
        "model.norm.weight": read("output_norm.weight"),
    }
    with safe_open(folder / "model.safetensors", "pt") as found:
        for name, exact in expected.items():
            assert torch.equal(found.get_tensor(name), exact.to(torch.bfloat16)), name


def test_tokenizer_is_smollm2s(whole: Backbone) -> None:
    tokenizer: Any = whole.tokenizer
    assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]) == [0, 1, 2]
    assert (tokenizer.pad_token, tokenizer.padding_side, tokenizer.model_max_length) == ("<|im_end|>", "right", 8192)
    for text in ("Heat (1995). Genres: Action", "Il  Postino\n\n  1994", "日本語 😀", "don't"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.tokenize("in  1995") == ["in", "ĠĠ", "1", "9", "9", "5"]  # each digit by itself, before the rest
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert chat.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert chat.startswith("<|im_start|>system\n")


@pytest.mark.parametrize("pooling", ["mean", "last-token"])
def test_vector_of_a_text_is_the_same_alone_and_padded_in_a_batch(
    pooling: str, whole: Backbone, texts: tuple[str, ...]
) -> None:
    tokens = TokenTable.of(texts, lambda some: whole.tokenize(some, 48), whole.pad_id)
    modules = list(whole.model.modules())
    with torch.no_grad():
        batched, alone = (
            TextEncoder(whole.model, modules, pooling, True, chunk).encode(tokens) for chunk in (len(texts), 1)
        )
    assert float((batched * alone).sum(-1).min()) > 0.999
    others = batched @ batched.T
    assert float(others[0, 2]) < 0.999  # other texts have other vectors


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_quantized_layers_answer_and_embeddings_stay_whole(kind: str, low: Path) -> None:
    exact = load_backbone(BackboneSection(name=str(low), precision="bf16"), CPU)
    small = load_backbone(BackboneSection(name=str(low), precision="bf16", quantization=kind), CPU)
    linear = {"int8": "Linear8bitLt", "nf4": "Linear4bit"}[kind]
    assert sum(type(module).__name__ == linear for module in small.model.modules()) == 3 * 7
    assert torch.equal(small.model.embed_tokens.weight, exact.model.embed_tokens.weight)
    ids = torch.tensor([exact.tokenizer("A film about a detective and a thief.")["input_ids"]])
    with torch.no_grad():
        whole, rough = (m.model(input_ids=ids).last_hidden_state.float().mean(1) for m in (exact, small))
    cosine = float(torch.nn.functional.cosine_similarity(whole, rough))
    assert (0.99 if kind == "int8" else 0.9) < cosine < 1.0


@pytest.mark.parametrize("double", [True, False])
def test_double_quantization_is_part_of_the_identity(double: bool, low: Path) -> None:
    section = BackboneSection(name=str(low), precision="bf16", quantization="nf4", double_quantization=double)
    backbone = load_backbone(section, CPU)
    state = backbone.model.layers[0].mlp.up_proj.weight.quant_state
    assert bool(state.nested) is double
    assert backbone.identity.quantization == ("nf4-double" if double else "nf4")


def test_nf4_gradients_after_an_evaluation_are_those_without_it(low: Path) -> None:
    """Where weights were repacked in evaluation, gradients through frozen 4-bit layers would be lost."""
    backbone = load_backbone(BackboneSection(name=str(low), precision="bf16", quantization="nf4"), CPU)
    ids = torch.tensor([backbone.tokenizer("A film about a detective and a thief.")["input_ids"]])
    gradients = []
    torch.manual_seed(0)
    model = Lora(LoraOptions(layers="all", dropout=0.0)).attach(backbone)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.eval()
    for evaluated in (False, True):
        if evaluated:
            with torch.no_grad():
                model(input_ids=ids)
        model(input_ids=ids).last_hidden_state.float()[..., 0].pow(2).mean().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        model.zero_grad()
    assert len(gradients[0]) == 3 * 2 * 2
    for name, gradient in gradients[0].items():
        assert float(gradient.abs().max()) > 0.0, name
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-6, msg=name)
