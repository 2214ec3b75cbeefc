"""A stranger's adapter cannot touch the shared base, stop the process or hide what it is."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llmrec_peft import Recommender
from llmrec_peft.artifact.manifest import make_manifest, write_json
from llmrec_peft.backbone.bare import BareTree
from llmrec_peft.errors import InputError
from security.strangers_adapters import (
    CONFIG,
    VARIANTS,
    WEIGHTS,
    SavedAdapters,
    edit_config,
    edit_tensors,
    saved_adapters,
)

NAN, HUGE = float("nan"), 1e30
REDOS = "(?:(?:[a-z.0-9_]+)+)+X"
FIELDS: dict[str, Any] = {
    "init_lora_weights": "pissa",
    "init_weights": "olora",
    "init_ia3_weights": False,
    "bias": "all",
    "layer_replication": [[0, 6]] * 2000,
    "target_modules": REDOS,
    "feedforward_modules": REDOS,
    "exclude_modules": REDOS,
    "layers_pattern": REDOS,
    "layers_to_transform": list(range(100_000)),
    "rank_pattern": {REDOS: 10**9},
    "alpha_pattern": {REDOS: HUGE},
    "alora_invocation_tokens": [1, 2],
    "modules_to_save": ["embeddings"],
    "trainable_token_indices": [0, 1, 2],
    "target_parameters": ["word_embeddings.weight"],
    "megatron_config": {"a": 1},
    "megatron_core": "os",
    "loftq_config": {"loftq_bits": 4},
    "eva_config": {"rho": 2.0},
    "corda_config": {"cache_file": "/etc/passwd"},
    "lora_ga_config": {},
    "arrow_config": {"top_k": 3},
    "runtime_config": {"ephemeral_gpu_offload": True},
    "auto_mapping": {"base_model_class": "system", "parent_library": "os"},
    "peft_type": "XLORA",
    "task_type": "CAUSAL_LM",
    "inference_mode": False,
    "use_dora": "yes",
    "use_rslora": 1,
    "use_qalora": True,
    "use_bdlora": {},
    "lora_bias": True,
    "fan_in_fan_out": 1,
    "ensure_weight_tying": True,
    "r": 10**12,
    "init_r": -1,
    "target_r": True,
    "lora_alpha": NAN,
    "alpha": HUGE,
    "d_initial": HUGE,
    "scale": -HUGE,
    "lora_dropout": 1.0,
    "size": 10**9,
    "activation": "eval",
    "inputs": {"output.dense": "embeddings"},
    "parameters": "everything",
    "oft_block_size": 0,
    "num_virtual_tokens": 10**9,
    "num_layers": 10**6,
    "token_dim": "32",
    "prompt_tuning_init": "TEXT",
    "tokenizer_name_or_path": "somebody/else",
    "tokenizer_kwargs": {"trust_remote_code": True},
    "encoder_hidden_size": 10**9,
    "prefix_projection": True,
    "projection_prng_key": 2**70,
    "base_model_name_or_path": 5,
    "revision": ["main"],
    "peft_version": "9" * 10_000,
    "__class__": "os.system",
    "tinit": 2**63,
    "a field\nof two lines\x1b[31m": 0,
}
"""One hostile value a field; a method that has no such field must refuse it as unknown."""


def _first(tensors: dict[str, torch.Tensor]) -> str:
    """The first tensor of numbers; SHiRA's indices come before its values."""
    return min(name for name, tensor in tensors.items() if tensor.is_floating_point())


def _poke(value: float) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[_first(tensors)].view(-1)[-1] = value

    return change


def _cast(dtype: torch.dtype) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[_first(tensors)] = tensors[_first(tensors)].to(dtype)

    return change


def _drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[_first(tensors)]


def _base_tensors(tensors: dict[str, torch.Tensor]) -> None:
    for layer in range(2):
        tensors[f"base_model.model.encoder.layer.{layer}.output.dense.bias"] = torch.full((32,), 3.0)


TENSORS: dict[str, Callable[[dict[str, torch.Tensor]], None]] = {
    "a tensor too many": lambda tensors: tensors.update({"base_model.model.stowaway": torch.zeros(3)}),
    "the base's biases": _base_tensors,
    "the base's table": lambda tensors: tensors.update({"embeddings.word_embeddings.weight": torch.zeros(30522, 32)}),
    "a name of two lines": lambda tensors: tensors.update({"a\nb\x1b[31m": torch.zeros(1)}),
    "a tensor too few": _drop,
    "another shape": lambda tensors: tensors.update({_first(tensors): torch.zeros(7, 5)}),
    "a large tensor": lambda tensors: tensors.update({_first(tensors): torch.zeros(3000, 3000)}),
    "NaN": _poke(NAN),
    "infinity": _poke(float("-inf")),
    "a huge number": _poke(-1e30),
    "integers": _cast(torch.int32),
    "booleans": _cast(torch.bool),
    "double precision": _cast(torch.float64),
    "eight bits": _cast(torch.float8_e4m3fn),
    "nothing": lambda tensors: tensors.clear(),
}
TEXTS = {
    "nothing": b"",
    "half": b'{"peft_type": "LORA"',
    "no object": b"[1, 2]",
    "a number": b"3",
    "nested": b"[" * 200_000,
    "nested objects": b'{"a":' * 200_000,
    "deeper than allowed": b'{"r":' + b"[" * 100 + b"]" * 100 + b"}",
    "no UTF-8": b'{"peft_type": "\xff"}',
    "UTF-16": '{"peft_type": "LORA"}'.encode("utf-16"),
    "a long number": b'{"r": ' + b"9" * 100_000 + b"}",
    "infinite": b'{"lora_alpha": 1e999, "peft_type": "LORA"}',
    "surrogate": b'{"peft_type": "\\ud800\\u001b[31m"}',
    "more bytes than allowed": b" " * (17 << 20),
}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], SavedAdapters]:
    """Every method's files on a tiny model; made once."""
    return functools.cache(lambda base: saved_adapters(tmp_path_factory.mktemp("strangers"), base))


@pytest.fixture
def saved(make: Callable[[str], SavedAdapters]) -> SavedAdapters:
    """Every method's files on a tiny encoder."""
    return make("tiny-bert")


def _refused(saved: SavedAdapters, name: str, folder: Path) -> str:
    """The one printable line of a refusal that left the base as it was."""
    with saved.untouched(), pytest.raises(InputError) as refused:
        saved.method(name).load(saved.backbone, folder)
    line = str(refused.value)
    assert line.isprintable() and len(line) < 1000, line
    return line


@pytest.mark.parametrize("base", ["tiny-bert", "tiny-llama"])
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_own_files_are_accepted_and_leave_the_base_as_it_was(
    name: str, base: str, make: Callable[[str], SavedAdapters]
) -> None:
    saved = make(base)
    if name not in saved.names:
        pytest.skip("this method does not work in this model")
    bare = saved.states(saved.backbone.model)
    with saved.untouched():
        for _ in range(2):
            model = saved.method(name).load(saved.backbone, saved.folder / name)
            tuned, tree = saved.states(model), BareTree(saved.backbone.model)
            assert name == "none" or not torch.equal(tuned, bare)
            saved.backbone.detach()
            assert torch.equal(saved.states(saved.backbone.model), bare)
            tree.restore()
            assert torch.equal(saved.states(model), tuned)
            saved.backbone.detach()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_every_hostile_field_is_refused_by_name(name: str, saved: SavedAdapters, tmp_path: Path) -> None:
    own = json.loads((saved.folder / name / CONFIG).read_text(encoding="utf-8"))
    for field, value in FIELDS.items():
        if field == "prefix_projection" and own.get(field) is value:
            continue
        folder = saved.copy(name, tmp_path / "hostile")
        edit_config(folder, **{field: value})
        line = _refused(saved, name, folder)
        shown = repr(field)[1:-1]
        assert shown in line or value is NAN, line
    for field in own:
        if not own[field] or field in ("base_model_name_or_path", "peft_version"):
            continue
        folder = saved.copy(name, tmp_path / "hostile")
        edit_config(folder, **{field: None})
        assert field in _refused(saved, name, folder)


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_every_hostile_tensor_is_refused(name: str, saved: SavedAdapters, tmp_path: Path) -> None:
    for kind, change in TENSORS.items():
        folder = saved.copy(name, tmp_path / "hostile")
        if name == "none" and kind not in ("a tensor too many", "the base's biases", "the base's table"):
            continue
        edit_tensors(folder, change)
        assert "tensor" in _refused(saved, name, folder), kind


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", sorted(TEXTS))
def test_text_that_is_no_configuration_is_refused(kind: str, saved: SavedAdapters, tmp_path: Path) -> None:
    for name in ("lora", "adalora", "none"):
        folder = saved.copy(name, tmp_path / "hostile")
        (folder / CONFIG).write_bytes(TEXTS[kind])
        assert CONFIG in _refused(saved, name, folder)


def test_name_that_stands_twice_is_refused(saved: SavedAdapters, tmp_path: Path) -> None:
    """Of two values, one reader takes the first and another the last."""
    folder = saved.copy("lora", tmp_path / "hostile")
    text = (folder / CONFIG).read_text(encoding="utf-8")
    (folder / CONFIG).write_text(text.replace('"bias": "none"', '"bias": "all", "bias": "none"'), encoding="utf-8")
    assert "the name 'bias' stands twice" in _refused(saved, "lora", folder)


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("kind", ["link", "folder", "FIFO", "missing"])
@pytest.mark.timeout(60)
def test_what_is_no_regular_file_is_refused(file: str, kind: str, saved: SavedAdapters, tmp_path: Path) -> None:
    folder = saved.copy("lora", tmp_path / "hostile")
    (folder / file).rename(tmp_path / "elsewhere")
    if kind == "link":
        (folder / file).symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        (folder / file).mkdir()
    elif kind == "FIFO":
        os.mkfifo(folder / file)
    assert file in _refused(saved, "lora", folder)


@pytest.mark.parametrize(("recipe", "file"), [("lora", "dora"), ("dora", "lora"), ("bitfit", "full"), ("vera", "oft")])
def test_file_of_another_method_than_the_recipes_is_refused(
    recipe: str, file: str, saved: SavedAdapters, tmp_path: Path
) -> None:
    _refused(saved, recipe, saved.copy(file, tmp_path / "hostile"))


@pytest.mark.parametrize(
    "ranks",
    [
        {"encoder.layer.0.attention.self.query.lora_E": [True] * 12},
        {REDOS: [True] * 12},
        "more",
        "fewer",
        "none",
        "numbers",
        "words",
    ],
)
def test_ranks_that_no_training_leaves_are_refused(ranks: Any, saved: SavedAdapters, tmp_path: Path) -> None:
    """AdaLoRA's ranks are the one thing besides tensors that is taken from a file."""
    folder = saved.copy("adalora", tmp_path / "hostile")
    own = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["rank_pattern"]
    first = min(own)
    changes = {
        "more": {**own, first: [True] * 13},
        "fewer": {**own, first: [True]},
        "none": {**own, first: [False] * 12},
        "numbers": {**own, first: [1] * 12},
        "words": {**own, first: "all"},
    }
    edit_config(folder, rank_pattern=changes[ranks] if isinstance(ranks, str) else ranks)
    assert "rank_pattern" in _refused(saved, "adalora", folder)


def test_bytes_that_an_adapter_exchanged_come_back(saved: SavedAdapters) -> None:
    """PEFT's own PiSSA sets `weight.data` of the base: the parameter stays the same object with other numbers."""
    from peft import LoraConfig, get_peft_model

    from llmrec_peft.plugins import pattern, target_linears

    with saved.untouched():
        targets = pattern(target_linears(saved.backbone.shapes, "query-value", "all"))
        get_peft_model(saved.backbone.model, LoraConfig(r=4, init_lora_weights="pissa", target_modules=targets))
        saved.backbone.detach()


def test_buffers_and_forwards_that_an_adapter_exchanged_come_back(saved: SavedAdapters) -> None:
    model = saved.backbone.model
    owner = next(module for module in model.modules() if dict(module.named_buffers(recurse=False)))
    name = next(iter(dict(owner.named_buffers(recurse=False))))
    bare = saved.states(model)
    with saved.untouched():
        setattr(owner, name, torch.ones_like(getattr(owner, name)))
        owner.register_buffer("stowaway", torch.ones(2))
        model.forward = lambda **_: None
        saved.backbone.detach()
    assert torch.equal(saved.states(model), bare)


def sealed(run: Path) -> Path:
    """Make a run's manifest true again: a digest in the folder guards against accidents, not against its author."""
    old = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    made = make_manifest(run, old["base"], old["version"])
    write_json(run / "manifest.json", made.model_dump(mode="json"))
    return run


HOSTILE: dict[str, Callable[[Path], None]] = {
    "pissa": lambda run: edit_config(run, init_lora_weights="pissa"),
    "pissa_niter_4": lambda run: edit_config(run, init_lora_weights="pissa_niter_4"),
    "olora": lambda run: edit_config(run, init_lora_weights="olora"),
    "bias": lambda run: edit_config(run, bias="all"),
    "redos": lambda run: edit_config(run, target_modules=REDOS),
    "redos in exclude_modules": lambda run: edit_config(run, exclude_modules=REDOS),
    "layer_replication": lambda run: edit_config(run, layer_replication=[[0, 4]] * 2000),
    "NaN": lambda run: edit_config(run, lora_alpha=NAN),
    "a tensor too many": lambda run: edit_tensors(run, TENSORS["a tensor too many"]),
    "pissa and a tensor too many": lambda run: (
        edit_config(run, init_lora_weights="pissa"),
        edit_tensors(run, TENSORS["a tensor too many"]),
    )[0],
}


@pytest.mark.timeout(120)
def test_refused_run_leaves_the_one_that_answers_as_it_was(tiny_run: Path, tmp_path: Path) -> None:
    texts = ["A slow and warm film about a baker.", "Something restless and cold."]
    recommender = Recommender.from_pretrained(tiny_run)
    name, before = recommender.current, recommender.encode(texts).clone()
    answer = recommender.recommend(["1"], k=3)
    for kind, edit in HOSTILE.items():
        run = tmp_path / kind.replace(" ", "-")
        shutil.copytree(tiny_run, run)
        edit(run)
        with pytest.raises(InputError, match="adapter"):
            recommender.attach(sealed(run), kind)
        assert recommender.adapters == (name,) and recommender.current == name
        assert torch.equal(recommender.encode(texts), before), kind
        assert recommender.recommend(["1"], k=3) == answer


def test_attaching_switching_and_detaching_leave_the_base_as_it_was(tiny_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    edit_tensors(other, lambda tensors: tensors.update({name: value * 2 for name, value in tensors.items()}))
    recommender = Recommender.from_pretrained(tiny_run)
    texts = ["A slow and warm film about a baker."]
    own = recommender.current
    first = recommender.encode(texts).clone()
    with recommender.language_model.bare() as backbone:
        base = SavedAdapters(backbone, tmp_path)
    with base.untouched():
        name = recommender.attach(sealed(other))
        recommender.switch(name)
        assert not torch.equal(recommender.encode(texts), first)
        recommender.switch(own)
        recommender.detach(name)
        assert torch.equal(recommender.encode(texts), first)
        with recommender.language_model.bare():
            pass
