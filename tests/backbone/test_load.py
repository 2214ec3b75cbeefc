"""Loading real MiniLM: frozen, without pooler, the same vectors in every precision."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from llmrec_peft.backbone.load import Backbone
from llmrec_peft.backbone.pooling import pool
from llmrec_peft.backbone.precision import computes_bf16, resolve_precision
from llmrec_peft.errors import InputError
from llmrec_peft.identity import tensors_digest


def _vectors(backbone: Backbone, texts: tuple[str, ...]) -> torch.Tensor:
    encoded = backbone.tokenizer(list(texts), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = backbone.model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])
    return torch.nn.functional.normalize(pool(states.last_hidden_state, encoded["attention_mask"], "mean"), dim=-1)


def test_minilm_is_frozen_in_evaluation_mode_and_has_no_pooler(minilm: Backbone) -> None:
    assert not any(parameter.requires_grad for parameter in minilm.model.parameters())
    assert not any(module.training for module in minilm.model.modules())
    assert not any("pooler" in name for name, _ in minilm.model.named_modules())
    assert (minilm.kind, minilm.width, minilm.depth) == ("encoder", 384, 6)
    total = sum(parameter.numel() for parameter in minilm.model.parameters())
    assert total == 22_713_216 - 384 * 384 - 384  # all of the published model but its pooler


def test_identity_names_hub_weights_and_computation(minilm: Backbone) -> None:
    identity = minilm.identity.plain()
    named = {key.removeprefix("file ") for key in identity if key.startswith("file ")}
    assert named >= {"config.json", "tokenizer.json", "vocab.txt", "modules.json", "1_Pooling/config.json"}
    assert not named & {"README.md", "data_config.json", "model.safetensors"}
    assert len(str(identity["files_sha256"])) == 64
    assert {key: identity[key] for key in ("name", "revision", "weights_sha256", "quantization", "compute")} == {
        "name": "sentence-transformers/all-MiniLM-L6-v2",
        "revision": "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        "weights_sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "quantization": "none",
        "compute": "fp32",
    }


def test_bf16_vectors_have_cosine_above_0999(
    minilm: Backbone, load: Callable[..., Backbone], texts: tuple[str, ...]
) -> None:
    half = load(name="minilm", precision="bf16")
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    assert half.identity.compute == "bf16"
    cosine = (_vectors(minilm, texts) * _vectors(half, texts)).sum(-1)
    assert float(cosine.min()) >= 0.999
    assert tensors_digest(minilm.model.state_dict()) != tensors_digest(half.model.state_dict())


def test_auto_precision_is_bf16_exactly_where_the_processor_multiplies_it() -> None:
    cpu = torch.device("cpu")
    assert resolve_precision("auto", cpu) == (torch.bfloat16 if computes_bf16(cpu) else torch.float32)
    assert resolve_precision("fp32", cpu) == torch.float32


def test_tokens_are_cut_to_the_length_and_padding_has_an_id(minilm: Backbone) -> None:
    long, empty = minilm.tokenize(["word " * 100, ""], 12)
    assert len(long) == 12
    assert len(empty) == 2  # [CLS] [SEP]
    assert minilm.pad_id == 0


def test_folder_without_a_configuration_is_one_line(
    tiny_backbone: Path, tmp_path: Path, load: Callable[..., Backbone]
) -> None:
    folder = shutil.copytree(tiny_backbone, tmp_path / "bare")
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=f"backbone: {folder}/config.json: is missing") as caught:
        load(name=str(folder))
    assert "\n" not in str(caught.value)


def test_broken_weights_are_refused_in_one_line(
    tiny_backbone: Path, tmp_path: Path, load: Callable[..., Backbone]
) -> None:
    folder = shutil.copytree(tiny_backbone, tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"backbone: .*broken/model\.safetensors is no safetensors file"):
        load(name=str(folder))


def test_without_the_cure_a_pooler_would_be_there_for_dense_to_match(
    monkeypatch: pytest.MonkeyPatch, load: Callable[..., Backbone]
) -> None:
    from llmrec_peft.backbone import load as loading

    monkeypatch.setattr(loading, "_has_pooler", lambda _config: False)
    names = {name for name, _ in load(name="minilm").model.named_modules()}
    assert "pooler.dense" in names
