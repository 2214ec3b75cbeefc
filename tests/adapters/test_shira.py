"""SHiRA: a few drawn entries of a weight are trained; where they lie is saved, read back and checked."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from llmrec_adapters.forms.sparse_product import sparse_product
from llmrec_adapters.lora import Lora, LoraOptions
from llmrec_adapters.shira import Shira, ShiraOptions
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmrec_peft.backbone.load import Backbone
from llmrec_peft.errors import InputError

Fresh = Callable[..., Backbone]
LAYER = "encoder.layer.3.attention.self.query"
METHOD = Shira(ShiraOptions(rank=2, layers="top-1"))
FILE = "adapter_model.safetensors"


def _stirred(backbone: Backbone, method: Shira = METHOD, seed: int = 0, spread: float = 1.0) -> Any:
    """Attach with random values."""
    backbone.detach()
    torch.manual_seed(seed)
    model = method.attach(backbone)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(spread * torch.randn(parameter.shape))
    return model


def _dense(layer: Any) -> Tensor:
    update = torch.zeros(layer.out_features, layer.in_features)
    rows, columns = layer.shira_indices["default"].long()
    update[rows, columns] = layer.shira_weight["default"].detach()
    return update


def test_the_entries_are_added_to_the_weight(fresh: Fresh) -> None:
    backbone = fresh()
    _stirred(backbone)
    layer: Any = backbone.model.get_submodule(LAYER)
    x = torch.randn(2, 3, 32)
    expected = torch.nn.functional.linear(x, layer.base_layer.weight + _dense(layer), layer.base_layer.bias)
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_places_follow_from_the_seed_and_differ_from_layer_to_layer(fresh: Fresh) -> None:
    """PEFT's own mask is the same for all layers of one size."""
    backbone = fresh()
    first, again, other = (METHOD.state(_stirred(backbone, seed=seed)) for seed in (0, 0, 1))
    names = sorted(first)
    assert all(torch.equal(first[name], again[name]) for name in names)
    assert not any(torch.equal(first[name], other[name]) for name in names)
    assert not torch.equal(first[names[0]], first[names[1]])
    for indices in first.values():
        flat = indices[0].long() * 32 + indices[1]
        assert (indices.shape, indices.dtype) == ((2, 128), torch.int32)
        assert bool((flat.diff() > 0).all())
        assert 0 <= int(flat.min()) <= int(flat.max()) < 32 * 32


def test_entries_are_counted(fresh: Fresh) -> None:
    backbone = fresh("tiny-llama")
    method = Shira(ShiraOptions(targets="all-linear", rank=3))
    trained = [parameter for parameter in method.attach(backbone).parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in trained) == method.parameter_count(backbone.shapes)


def test_places_are_read_back_from_the_file(fresh: Fresh, tmp_path: Path) -> None:
    backbone = fresh()
    model = _stirred(backbone, seed=3)
    places = {name: indices.clone() for name, indices in METHOD.state(model).items()}
    METHOD.save(model, backbone, tmp_path)
    backbone.detach()
    torch.manual_seed(4)
    loaded = METHOD.state(METHOD.load(backbone, tmp_path))
    assert loaded.keys() == places.keys()
    assert all(torch.equal(loaded[name], places[name]) for name in places)


def test_small_steps_are_not_lost_in_half_precision(fresh: Fresh) -> None:
    """A sum of weight and update has eight bits in bf16: PEFT's own layer answers as if nothing had been trained."""
    backbone = fresh(precision="bf16")
    _stirred(backbone, spread=1e-5)
    layer: Any = backbone.model.get_submodule(LAYER)
    layer.base_layer.bias.data.zero_()
    layer.base_layer.weight.data.fill_(1.0)
    assert torch.equal((layer.base_layer.weight + _dense(layer)).to(torch.bfloat16), layer.base_layer.weight)
    x = torch.zeros(1, 1, 32, dtype=torch.bfloat16)
    rows, columns = layer.shira_indices["default"].long()
    x[0, 0, columns[0]] = 1.0
    layer.base_layer.weight.data.zero_()
    expected = _dense(layer)[rows[0], columns[0]].to(torch.bfloat16)
    assert expected != 0
    assert layer(x)[0, 0, rows[0]] == expected


def test_a_layer_that_was_called_leaves_memory(fresh: Fresh) -> None:
    """PEFT keeps it, and the weight inside it, in a cache of the process."""
    backbone = fresh()
    model = _stirred(backbone)
    layer = weakref.ref(backbone.model.get_submodule(LAYER))
    model(input_ids=torch.arange(40, 48)[None], attention_mask=torch.ones(1, 8, dtype=torch.long))
    backbone.detach()
    del model
    gc.collect()
    assert layer() is None


def test_more_entries_than_a_weight_has_are_refused(fresh: Fresh) -> None:
    with pytest.raises(InputError, match=r"adapter.rank: 11 means 528 entries, and .*v_proj has 512"):
        Shira(ShiraOptions(rank=11)).attach(fresh("tiny-llama"))


def _damages() -> Iterator[Any]:
    def put(row: int, at: int, value: int) -> Callable[[Tensor], Tensor]:
        def change(indices: Tensor) -> Tensor:
            indices[row, at] = value
            return indices

        return change

    def repeat(indices: Tensor) -> Tensor:
        indices[:, 5] = indices[:, 4]
        return indices

    outside = "points outside of the weight of 32 x 32"
    order = "names an entry twice, or entries out of their order"
    yield pytest.param(put(0, -1, 32), outside, id="a row too far")
    yield pytest.param(put(1, 0, 2**31 - 1), outside, id="a column too far")
    yield pytest.param(put(0, 0, -1), outside, id="a row below zero")
    yield pytest.param(put(1, 3, -1), outside, id="a column below zero")
    yield pytest.param(repeat, order, id="an entry twice")
    yield pytest.param(lambda indices: indices.flip(1), order, id="out of order")
    yield pytest.param(lambda indices: indices[:, :-1], r"has shape \[2, 127\], not \[2, 128\]", id="one too few")
    yield pytest.param(lambda indices: indices.T, r"has shape \[128, 2\], not \[2, 128\]", id="turned")
    for dtype, called in ((torch.int64, "I64"), (torch.int16, "I16"), (torch.float32, "F32")):
        yield pytest.param(lambda one, to=dtype: one.to(to), f"holds {called}, not numbers of I32", id=called)


@pytest.mark.parametrize(("change", "said"), _damages())
def test_indices_that_are_wrong_are_named_and_nothing_is_attached(
    change: Callable[[Tensor], Tensor], said: str, fresh: Fresh, tmp_path: Path
) -> None:
    backbone = fresh()
    METHOD.save(_stirred(backbone), backbone, tmp_path)
    backbone.detach()
    modules = list(backbone.model.modules())
    name = f"base_model.model.{LAYER}.shira_indices"
    _rewrite(tmp_path / FILE, {name: change})
    with pytest.raises(InputError, match=said) as caught:
        METHOD.load(backbone, tmp_path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(backbone.model.modules()) == modules


def test_whole_numbers_are_refused_where_a_method_has_no_indices(fresh: Fresh, tmp_path: Path) -> None:
    backbone, method = fresh(), Lora(LoraOptions(layers="top-1"))
    method.save(method.attach(backbone), backbone, tmp_path)
    backbone.detach()
    name = min(load_file(tmp_path / FILE))
    _rewrite(tmp_path / FILE, {name: Tensor.int})
    with pytest.raises(InputError, match="holds I32, not numbers of F32, F16, BF16"):
        method.load(backbone, tmp_path)


def _rewrite(path: Path, changes: dict[str, Callable[[Tensor], Tensor]]) -> None:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    for name, change in changes.items():
        tensors[name] = change(tensors[name].clone()).contiguous()
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize("laid_out", [True, False])
def test_product_and_its_gradients_are_those_of_dense_matrices(laid_out: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of unlike numbers of entries: zeros stand behind the fewer ones, and get no gradient."""
    monkeypatch.setattr("llmrec_adapters.forms.sparse_product.DENSE_WIDTH", {4: 512 if laid_out else 0})
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 4, 6, generator=generator, requires_grad=True)
    places, values = torch.zeros(3, 9, dtype=torch.int32), torch.zeros(3, 9)
    for row, count in enumerate((9, 4, 1)):
        places[row, :count] = torch.randperm(30, generator=generator)[:count].sort().values
        values[row, :count] = torch.randn(count, generator=generator)
    places[2, 0] = 0  # an entry of its own, not padding
    values.requires_grad_()
    weight = torch.zeros(3, 30).scatter_add(1, places.long(), values).view(3, 5, 6)
    expected, found = inputs @ weight.transpose(1, 2), sparse_product(inputs, values, places, 5)
    assert torch.allclose(found, expected, atol=1e-6)
    outer = torch.randn(3, 4, 5, generator=generator)
    wanted = torch.autograd.grad((expected * outer).sum(), (inputs, values))
    gradients = torch.autograd.grad((found * outer).sum(), (inputs, values))
    assert torch.allclose(gradients[0], wanted[0], atol=1e-6)
    for row, count in enumerate((9, 4, 1)):
        assert torch.allclose(gradients[1][row, :count], wanted[1][row, :count], atol=1e-6)
        assert not gradients[1][row, count:].any()
