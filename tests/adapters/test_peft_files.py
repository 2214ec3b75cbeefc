"""An adapter's two files: what does not fit is named, nothing is loaded, and the base stays as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from llmrec_adapters.lora import Lora, LoraOptions
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from llmrec_peft import registry
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.errors import InputError
from llmrec_peft.identity import tensors_digest
from llmrec_peft.options import validated

Fresh = Callable[..., Backbone]
METHOD = Lora(LoraOptions(layers="top-1"))


@pytest.fixture
def saved(fresh: Fresh, tmp_path: Path) -> Path:
    """Folder of a saved adapter in the top layer of the tiny BERT."""
    backbone = fresh()
    METHOD.save(METHOD.attach(backbone), backbone, tmp_path)
    return tmp_path


def _refused(folder: Path, backbone: Backbone, said: str) -> None:
    """Refused in one line, and the base is the same modules with the same numbers."""
    modules, digest = list(backbone.model.modules()), tensors_digest(dict(backbone.model.state_dict()))
    with pytest.raises(InputError, match=said) as caught:
        METHOD.load(backbone, folder)
    assert "\n" not in str(caught.value)
    assert list(backbone.model.modules()) == modules
    assert tensors_digest(dict(backbone.model.state_dict())) == digest


def _edit(folder: Path, **fields: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


def _with_metadata(folder: Path, metadata: dict[str, str]) -> None:
    path = folder / "adapter_model.safetensors"
    save_file(load_file(path), path, metadata=metadata)


def test_base_is_named_by_hash_revision_and_precision(saved: Path, fresh: Fresh) -> None:
    with safe_open(saved / "adapter_model.safetensors", "pt") as file:
        base = json.loads(file.metadata()["llmrec_base"])
    assert base == fresh().identity.plain()
    assert len(base["weights_sha256"]) == 64


def test_same_adapter_gives_the_same_bytes(fresh: Fresh, tmp_path: Path) -> None:
    """safetensors writes the metadata of a header in an order of the moment; a digest would change with it."""
    backbone = fresh()
    model = METHOD.attach(backbone)
    seen = set()
    for at in range(12):
        folder = tmp_path / str(at)
        folder.mkdir()
        METHOD.save(model, backbone, folder)
        seen.add((folder / "adapter_model.safetensors").read_bytes())
    assert len(seen) == 1
    header = next(iter(seen))[8:]
    assert header.startswith(b'{"__metadata__":{"format":"pt","llmrec_base":')


def test_adapter_that_names_no_base_is_refused(saved: Path, fresh: Fresh) -> None:
    for metadata in ({"format": "pt"}, {"llmrec_base": "{}"}, {"llmrec_base": "no json"}, {"llmrec_base": "[]"}):
        _with_metadata(saved, metadata)
        _refused(saved, fresh(), "names no base model by hash")


def test_adapter_of_another_base_is_refused(saved: Path, fresh: Fresh) -> None:
    _refused(saved, fresh("tiny-bert"), "was trained on a base with weights [0-9a-f]{12}…, not [0-9a-f]{12}…")


@pytest.mark.parametrize(
    ("field", "value"), [("revision", "0" * 40), ("revision", None), ("base_model_name_or_path", "somebody/else")]
)
def test_config_that_names_another_base_or_revision_is_refused(
    field: str, value: Any, fresh: Fresh, tmp_path: Path
) -> None:
    backbone = fresh("minilm")
    METHOD.save(METHOD.attach(backbone), backbone, tmp_path)
    backbone.detach()
    METHOD.load(backbone, tmp_path)
    backbone.detach()
    _edit(tmp_path, **{field: value})
    _refused(tmp_path, backbone, f"adapter_config.json: {field} is {value!r}, not ")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', not 'LORA'"),
        ({"peft_type": None}, "peft_type is None, not 'LORA'"),
        ({"r": 0}, "r is 0, not 8"),
        ({"r": -3}, "r is -3, not 8"),
        ({"r": 10**9}, "r is 1000000000, not 8"),
        ({"r": "eight"}, "r is 'eight', not 8"),
        ({"r": 9}, "r is 9, not 8"),
        ({"target_modules": "nothing_like_it"}, "target_modules is 'nothing_like_it', not "),
        ({"target_modules": ["query"]}, r"target_modules is \['query'\], not "),
    ],
)
def test_field_that_does_not_fit_is_named(fields: dict[str, Any], said: str, saved: Path, fresh: Fresh) -> None:
    _edit(saved, **fields)
    _refused(saved, fresh(), said)


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_config_that_is_none_is_refused(text: str, saved: Path, fresh: Fresh) -> None:
    (saved / "adapter_config.json").write_text(text, encoding="utf-8")
    _refused(saved, fresh(), "adapter_config.json: ")


def test_pickle_is_never_loaded(saved: Path, fresh: Fresh) -> None:
    tensors = load_file(saved / "adapter_model.safetensors")
    (saved / "adapter_model.safetensors").unlink()
    torch.save(tensors, saved / "adapter_model.bin")
    _refused(saved, fresh(), r"pickled weights are not loaded: adapter_model\.bin")
    (saved / "adapter_model.bin").rename(saved / "adapter_model.safetensors")
    _refused(saved, fresh(), "no safetensors file")


def test_integers_are_no_weights(saved: Path, fresh: Fresh) -> None:
    path = saved / "adapter_model.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    name = sorted(tensors)[0]
    tensors[name] = tensors[name].to(torch.int32)
    save_file(tensors, path, metadata=metadata)
    _refused(saved, fresh(), f"adapter tensor '{name}' holds I32, not numbers of F32, F16, BF16")


@pytest.mark.parametrize("name", ["bitfit", "bottleneck", "full", "none"])
def test_methods_of_ours_load_in_stock_peft_once_registered(name: str, fresh: Fresh, tmp_path: Path) -> None:
    from llmrec_adapters.through_peft.types import register_all
    from peft import PeftConfig, PeftModel

    ids = torch.arange(1000, 1024).reshape(3, 8)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    method = registry.get("adapters", name)(registry.get("adapters", name).Config())
    backbone = fresh()
    model = method.attach(backbone)
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state
    method.save(model, backbone, tmp_path)
    register_all()
    assert PeftConfig.from_pretrained(tmp_path).peft_type == name.upper()
    with torch.no_grad():
        found = PeftModel.from_pretrained(fresh().model, tmp_path).eval()(**inputs).last_hidden_state
    assert torch.equal(found, expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_adapter_that_could_not_be_loaded_is_not_written(value: float, fresh: Fresh, tmp_path: Path) -> None:
    backbone = fresh()
    model = METHOD.attach(backbone)
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).view(-1)[5] = value
    with pytest.raises(InputError, match=r"adapter tensor .* holds .*: training went astray; a lower training"):
        METHOD.save(model, backbone, tmp_path)
    assert not list(tmp_path.iterdir())


def test_scale_that_is_no_number_is_refused_before_training(fresh: Fresh) -> None:
    """The recipe bounds `alpha`; a method of somebody else may not."""
    backbone = fresh()
    modules = list(backbone.model.modules())
    for alpha, said in ((float("nan"), "is nan"), (float("inf"), "is inf"), (1e9, r"is 1.25e\+08")):
        with pytest.raises(InputError, match=f"the scale of .* {said}, beyond 65,504"):
            Lora(LoraOptions.model_construct(**{**LoraOptions().model_dump(), "alpha": alpha})).attach(backbone)
        assert list(backbone.model.modules()) == modules
    with pytest.raises(InputError, match="alpha"):
        validated(LoraOptions, {"alpha": 1e9}, "adapter")


def test_rank_that_training_refuses_is_refused_in_a_file_too(fresh: Fresh, tmp_path: Path) -> None:
    backbone = fresh()
    wide = Lora(LoraOptions(rank=33))
    wide.save(wide.attach(backbone), backbone, tmp_path)
    backbone.detach()
    with pytest.raises(InputError, match="rank: 33 is above the model's width 32"):
        wide.load(backbone, tmp_path)
