"""LoRA: starts as identity, learns alone, sits where it was told, comes back from its files or is refused."""

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

from llmrec_peft.backbone.load import Backbone
from llmrec_peft.backbone.through_peft.targets import adapted_layers
from llmrec_peft.errors import InputError
from llmrec_peft.options import validated

Fresh = Callable[..., Backbone]


def _inputs() -> dict[str, torch.Tensor]:
    ids = torch.arange(1000, 1024).reshape(3, 8)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _states(model: torch.nn.Module) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(**_inputs()).last_hidden_state


def _stirred(model: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize("name", [None, "minilm"])
def test_fresh_adapter_is_the_identity(name: str | None, fresh: Fresh) -> None:
    backbone = fresh(name)
    bare = _states(backbone.model)
    model = Lora(LoraOptions()).attach(backbone)
    assert torch.equal(_states(model), bare)
    assert not torch.allclose(_states(_stirred(model)), bare, atol=1e-2)


def test_gradients_reach_every_lora_matrix_and_nothing_else(fresh: Fresh) -> None:
    model = _stirred(Lora(LoraOptions(rank=4)).attach(fresh()))
    model(**_inputs()).last_hidden_state.pow(2)[..., 0].sum().backward()
    for name, parameter in model.named_parameters():
        inside = "lora_" in name
        assert parameter.requires_grad == inside, name
        assert (parameter.grad is not None and float(parameter.grad.abs().max()) > 0) == inside, name
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in trained) == 4 * 2 * (32 * 4 * 2)  # layers, targets, A and B


@pytest.mark.parametrize(
    ("layers", "expected"),
    [("all", [0, 1, 2, 3]), ("top-1", [3]), ("top-4", [0, 1, 2, 3]), ((2, 0, 2), [0, 2])],
)
def test_layers_say_where_matrices_are(layers: Any, expected: list[int], fresh: Fresh) -> None:
    backbone = fresh()
    method = Lora(LoraOptions(layers=layers))
    model = method.attach(backbone)
    found = {int(name.split(".layer.")[1].split(".")[0]) for name, _ in model.named_parameters() if "lora_" in name}
    assert sorted(found) == expected == adapted_layers(layers, 4)
    assert method.lowest_layer(backbone) == expected[0]


@pytest.mark.parametrize("layers", ["top-0", "top-5", "top", "bottom-1", "", (4,), (-1,), ()])
def test_layers_that_the_model_has_not_are_refused(layers: Any, fresh: Fresh) -> None:
    backbone = fresh()
    with pytest.raises(InputError, match=r"^adapter\.layers: "):
        Lora(LoraOptions(layers=layers)).attach(backbone)


@pytest.mark.parametrize("options", [{"rank": 0}, {"dropout": 1.0}, {"alpha": 0.0}, {"rnk": 8}])
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        validated(LoraOptions, options, "adapter")


def test_saved_adapter_reproduces_outputs_in_a_fresh_model(fresh: Fresh, tmp_path: Path) -> None:
    method = Lora(LoraOptions(layers="top-2", rank=4))
    backbone = fresh()
    model = _stirred(method.attach(backbone))
    expected = _states(model)
    method.save(model, backbone, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert torch.equal(_states(method.load(fresh(), tmp_path)), expected)


def test_loaded_adapter_can_be_trained_further(fresh: Fresh, tmp_path: Path) -> None:
    method = Lora(LoraOptions())
    backbone = fresh()
    method.save(_stirred(method.attach(backbone)), backbone, tmp_path)
    loaded = method.load(fresh(), tmp_path)
    assert {"lora_A" in name or "lora_B" in name for name, p in loaded.named_parameters() if p.requires_grad} == {True}


def test_config_names_hub_id_and_commit_and_no_path_of_this_machine(fresh: Fresh, tmp_path: Path) -> None:
    backbone = fresh("minilm")
    method = Lora(LoraOptions(layers="top-1"))
    method.save(method.attach(backbone), backbone, tmp_path)
    text = (tmp_path / "adapter_config.json").read_text(encoding="utf-8")
    config = json.loads(text)
    assert config["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert config["revision"] == "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
    assert config["peft_type"] == "LORA"
    assert "site-packages" not in text
    assert str(Path.home()) not in text


@pytest.fixture
def saved(fresh: Fresh, tmp_path: Path) -> Path:
    """Folder of a saved adapter in the top layer."""
    backbone = fresh()
    method = Lora(LoraOptions(layers="top-1"))
    method.save(_stirred(method.attach(backbone)), backbone, tmp_path)
    return tmp_path


def _broken(folder: Path, change: Callable[[dict[str, torch.Tensor], str], None]) -> str:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    change(tensors, name)
    save_file(tensors, path, metadata=metadata)
    return name


def _wider(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = torch.zeros(9, 32)


def _nan(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name].view(-1)[3] = float("nan")


def _gone(tensors: dict[str, torch.Tensor], name: str) -> None:
    del tensors[name]


@pytest.mark.parametrize(
    ("change", "said"),
    [(_wider, r"has shape \[9, 32\], not \[8, 32\]"), (_nan, "holds NaN or infinity"), (_gone, "is missing")],
)
def test_spoiled_tensor_is_refused_by_name(
    change: Callable[[dict[str, torch.Tensor], str], None], said: str, saved: Path, fresh: Fresh
) -> None:
    name = _broken(saved, change)
    with pytest.raises(InputError, match=f"adapter tensor {name} {said}"):
        Lora(LoraOptions(layers="top-1")).load(fresh(), saved)


def test_extra_tensor_is_refused_by_name(saved: Path, fresh: Fresh) -> None:
    _broken(saved, lambda tensors, _: tensors.update({"base_model.model.stowaway": torch.zeros(1)}))
    with pytest.raises(InputError, match=r"adapter tensor base_model\.model\.stowaway is unknown"):
        Lora(LoraOptions(layers="top-1")).load(fresh(), saved)


def test_truncated_weights_are_refused_in_one_line(saved: Path, fresh: Fresh) -> None:
    path = saved / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"adapter_model.safetensors") as caught:
        Lora(LoraOptions(layers="top-1")).load(fresh(), saved)
    assert "\n" not in str(caught.value)
