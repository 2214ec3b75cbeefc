"""Base folders from outside: refused in one line where they are not what they say; no tensor is made up."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_base import changed_json, make_base, write_tokenizer

from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.errors import InputError
from llmrec_peft.footprint.check import footprint_of
from llmrec_peft.recipe import load_recipe
from llmrec_peft.recipe.sections import BackboneSection

CPU = torch.device("cpu")
META = {"format": "pt"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("made") / "base")


@pytest.fixture
def base(made: Path, tmp_path: Path) -> Path:
    """A copy of a sound base, to be spoiled."""
    return Path(shutil.copytree(made, tmp_path / "base"))


def load(folder: Path, **fields: Any) -> Backbone:
    return load_backbone(BackboneSection(**{"name": str(folder), "precision": "fp32", **fields}), CPU)


def retold(base: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = base / "model.safetensors"
    save_file(change(load_file(path)), path, META)


def renamed(prefix: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda tensors: {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def without(part: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name}


def poisoned(value: float, dtype: torch.dtype = torch.float32) -> Callable[[Any], dict[str, torch.Tensor]]:
    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
        tensors["encoder.layer.1.output.dense.weight"][3, 2] = value
        return tensors

    return change


def sharded(base: Path) -> None:
    """Split the weights into two shards with an index."""
    tensors = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    names, index = sorted(tensors), {}
    for number, some in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in some}, base / file, META)
        index |= dict.fromkeys(some, file)
    (base / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "wrapper's prefix": (
        lambda base: retold(base, renamed("text_encoder.")),
        r"37 of the model's 37 tensors are not in its files .*the files call it text_encoder\.embeddings",
    ),
    "compiled": (lambda base: retold(base, renamed("_orig_mod.")), r"the files call it _orig_mod\.embeddings"),
    "one tensor gone": (
        lambda base: retold(base, without("layer.0.output.dense.weight")),
        r"1 of the model's 37 tensors are not in its files and would be random numbers; the first is encoder\.layer\.0",
    ),
    "layer gone": (lambda base: retold(base, without("layer.1.")), r"16 of the model's 37 tensors"),
    "wider": (
        lambda base: changed_json(base / "config.json", vocab_size=41),
        r"1 tensor\(s\) have another shape .*word_embeddings\.weight: \[40, 16\], not \[41, 16\]",
    ),
    "a bias that the model has no place for": (
        lambda base: retold(base, lambda tensors: {**tensors, "embeddings.LayerNorm.scale": torch.ones(16)}),
        r"1 tensor\(s\) of its files belong to modules that, by config\.json, have no place .*LayerNorm\.scale",
    ),
    "infinity": (
        lambda base: retold(base, poisoned(float("inf"))),
        r"model\.safetensors: tensor encoder\.layer\.1\.output\.dense\.weight holds NaN or infinity",
    ),
    "NaN in half precision": (
        lambda base: retold(base, poisoned(float("nan"), torch.float16)),
        r"tensor encoder\.layer\.1\.output\.dense\.weight holds NaN",
    ),
    "adapter beside the weights": (
        lambda base: (base / "adapter_config.json").write_text("{}"),
        r"holds an adapter beside its weights \(adapter_config\.json\)",
    ),
    "tokenizer with more words": (
        lambda base: write_tokenizer(base, 44),
        r"the tokenizer has 44 tokens, the model embeds 40: 'w15' has id 40",
    ),
    "no tokenizer": (lambda base: (base / "tokenizer.json").unlink(), r"backbone .*base: "),
    "single file beside shards": (
        lambda base: (
            shutil.copy(base / "model.safetensors", base / "old"),
            sharded(base),
            (base / "old").rename(base / "model.safetensors"),
        ),
        r"holds model\.safetensors and model\.safetensors\.index\.json, which names 2 other",
    ),
    "shards without an index beside a single file": (
        lambda base: shutil.copy(base / "model.safetensors", base / "model-00001-of-00002.safetensors"),
        r"and shards \(model-00001-of-00002\.safetensors\) without",
    ),
    "absent shard": (
        lambda base: (sharded(base), (base / "model-00002-of-00002.safetensors").unlink()),
        r"names model-00002-of-00002\.safetensors, which is not there \(1 of 2 shards\)",
    ),
    "index that names a file elsewhere": (
        lambda base: (
            sharded(base),
            (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../x.safetensors"}})),
        ),
        r"names '\.\./x\.safetensors', which is no safetensors file beside it",
    ),
    "tensor in another shard than the index says": (
        lambda base: (
            sharded(base),
            changed_json(
                base / "model.safetensors.index.json",
                weight_map={
                    **json.loads((base / "model.safetensors.index.json").read_text())["weight_map"],
                    "embeddings.LayerNorm.bias": "model-00002-of-00002.safetensors",
                },
            ),
        ),
        r"tensor embeddings\.LayerNorm\.bias lies in .*-00001-of-00002\.safetensors, where .*index\.json has it not",
    ),
    "weights under another name": (
        lambda base: (base / "model.safetensors").rename(base / "weights.safetensors"),
        r"holds weights\.safetensors, but neither model\.safetensors nor",
    ),
    "more layers than tensors": (
        lambda base: changed_json(base / "config.json", num_hidden_layers=10**9),
        r"asks for 1,000,000,000 layers",
    ),
    "more heads than any model": (
        lambda base: changed_json(base / "config.json", num_attention_heads=10**9),
        r"num_attention_heads is 1,000,000,000",
    ),
    "larger than its files": (
        lambda base: changed_json(base / "config.json", vocab_size=10**12),
        r"config\.json asks for a model of 16,000,00.* numbers, its files hold",
    ),
    "other weights by configuration": (
        lambda base: changed_json(base / "config.json", transformers_weights="other.safetensors"),
        r"transformers_weights names other weights",
    ),
    "code on the Hub by configuration": (
        lambda base: changed_json(base / "config.json", attn_implementation="stranger/kernel"),
        r"attn_implementation names code on the Hub",
    ),
    "header of 2^60 bytes": (
        lambda base: (base / "model.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}"),
        r"is no safetensors file: its header would have",
    ),
    "configuration is a FIFO": (
        lambda base: ((base / "config.json").unlink(), os.mkfifo(base / "config.json")),
        r"config\.json: is a FIFO, not a regular file",
    ),
    "weights are a device": (
        lambda base: ((base / "model.safetensors").unlink(), (base / "model.safetensors").symlink_to("/dev/zero")),
        r"model\.safetensors: is a device, not a regular file",
    ),
    "tokenizer links to nothing": (
        lambda base: ((base / "tokenizer.json").unlink(), (base / "tokenizer.json").symlink_to("nowhere")),
        r"tokenizer\.json: is a link to nothing",
    ),
    "configuration of nested lists": (
        lambda base: (base / "config.json").write_text("[" * 100_000),
        r"config\.json: is nested deeper than 32",
    ),
    "code of its own": (
        lambda base: changed_json(base / "config.json", model_type="own", auto_map={"AutoConfig": "own.Own"}),
        r"backbone .*base: ",
    ),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("spoil", SPOILED)
def test_a_base_that_is_not_what_it_says_is_refused_in_one_line(base: Path, spoil: str) -> None:
    change, message = SPOILED[spoil]
    change(base)
    with pytest.raises(InputError, match=message) as caught:
        load(base)
    assert "\n" not in str(caught.value)


SOUND: dict[str, Callable[[Path], object]] = {
    "as it was saved": lambda base: None,
    "with a pooler and a head in its files": lambda base: retold(
        base,
        lambda tensors: {**tensors, "pooler.dense.weight": torch.ones(16, 16), "cls.predictions.bias": torch.ones(3)},
    ),
    "saved with its head": lambda base: retold(
        base, lambda tensors: {**renamed("bert.")(tensors), "cls.predictions.bias": torch.ones(3)}
    ),
    "with a buffer of earlier versions": lambda base: retold(
        base, lambda tensors: {**tensors, "embeddings.position_ids": torch.arange(32)[None]}
    ),
    "in shards": sharded,
    "behind links": lambda base: (
        (base / "model.safetensors").rename(base.parent / "blob"),
        (base / "model.safetensors").symlink_to("../blob"),
    ),
    "with large but finite numbers": lambda base: retold(base, poisoned(3e38)),
    "with an adapter's weights that nothing attaches": lambda base: save_file(
        {"a": torch.ones(1)}, base / "adapter_model.safetensors"
    ),
}


@pytest.mark.parametrize("way", SOUND)
def test_what_a_bare_model_rightly_leaves_out_is_not_refused(base: Path, way: str) -> None:
    SOUND[way](base)
    backbone = load(base)
    states = backbone.model(input_ids=torch.tensor([[2, 5, 6, 3]])).last_hidden_state
    again = load(base).model(input_ids=torch.tensor([[2, 5, 6, 3]])).last_hidden_state
    assert torch.equal(states, again)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_quantized_loading_looks_at_the_tensors_too(base: Path, quantization: str) -> None:
    assert load(base, quantization=quantization).identity.quantization.startswith(quantization)
    retold(base, poisoned(float("inf")))
    with pytest.raises(InputError, match="holds NaN or infinity"):
        load(base, quantization=quantization)
    retold(base, lambda tensors: renamed("module.")(without("layer.1.output.dense.weight")(tensors)))
    with pytest.raises(InputError, match=r"are not in its files"):
        load(base, quantization=quantization)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("spoil", ["wrapper's prefix", "infinity", "tokenizer with more words"])
def test_training_says_so_before_it_begins_and_leaves_nothing(
    base: Path, movielens_folder: Path, tmp_path: Path, llmrec: Any, spoil: str
) -> None:
    change, message = SPOILED[spoil]
    change(base)
    out = tmp_path / "out"
    out.mkdir()
    given = ("--data", movielens_folder, "--set", f"backbone.name={base}", "--set", "adapter.layers=top-1")
    done = llmrec("train", "movies", *given, "--out", out / "run")
    assert done.returncode == 2
    assert re.search(message, done.stderr.replace("\n", " "))
    assert "Traceback" not in done.stderr
    assert list(out.iterdir()) == []


ASKED: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "adapter beside the weights": (
        *SPOILED["adapter beside the weights"][:1],
        {},
        "holds an adapter beside its weights",
    ),
    "tokenizer with more words": (*SPOILED["tokenizer with more words"][:1], {}, "the tokenizer has 44 tokens"),
    "more layers than any model": (*SPOILED["more layers than tensors"][:1], {}, "asks for 1,000,000,000 layers"),
    "pooling that a decoder cannot": (
        lambda base: (shutil.rmtree(base), make_base(base, "llama")),
        {"backbone.pooling": "cls", "adapter.targets": ["q_proj"]},
        r"backbone\.pooling: cls reads the first token",
    ),
}


@pytest.mark.parametrize("asked", ASKED)
def test_memory_says_so_too(base: Path, movielens_folder: Path, asked: str) -> None:
    spoil, changes, message = ASKED[asked]
    spoil(base)
    given = {"data.path": str(movielens_folder), "backbone.name": str(base), "adapter.layers": "top-1", **changes}
    with pytest.raises(InputError, match=message):
        footprint_of(load_recipe("movies", changes=given), cuda=False)


def test_run_folder_is_no_base(tmp_path: Path) -> None:
    for name in ("adapter_config.json", "manifest.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="is a run folder, not a base model"):
        load(tmp_path)


def test_special_token_that_the_model_does_not_embed_is_refused_where_a_text_has_one(base: Path) -> None:
    changed_json(base / "tokenizer_config.json", additional_special_tokens=["<extra>"], pad_token="<pad>")  # noqa: S106
    backbone = load(base)
    assert backbone.pad_id < 40
    assert backbone.tokenize(["silent window"], 8)
    with pytest.raises(InputError, match=r"text 2 of 2 has the token id 4\d, the model embeds 40"):
        backbone.tokenize(["silent", "a <extra> b"], 8)
