"""Rows of one batch with low-rank adapters of their own: each has the states that it has alone."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rows_by_forms import Saved, mixed, padded
from safetensors.torch import load_file
from torch import Tensor

from llmrec_peft import registry
from llmrec_peft.backbone.batched import filled
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.errors import InputError
from llmrec_peft.options import validated

Fresh = Callable[..., Backbone]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugin"
PAIRS: dict[str, tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]] = {
    "lora": (
        ("lora", {"rank": 3, "alpha": 6.0}),
        ("lora", {"rank": 7, "alpha": 5.0, "rslora": True, "layers": "top-2", "targets": "all-linear"}),
    ),
    "lora-starts": (
        ("lora", {"rank": 3, "start": "pissa"}),
        ("lora", {"rank": 5, "start": "olora", "alpha": 5.0, "rslora": True}),
    ),
    "adalora": (
        ("adalora", {"initial_rank": 6, "rank": 4}),
        ("adalora", {"initial_rank": 9, "rank": 5, "alpha": 24.0, "layers": "top-2", "save_as_lora": True}),
    ),
    "loha": (("loha", {"rank": 2, "alpha": 4.0}), ("loha", {"rank": 3, "alpha": 9.0, "layers": [1, 3]})),
    "dora": (
        ("dora", {"rank": 3, "alpha": 6.0}),
        ("dora", {"rank": 6, "alpha": 6.0, "layers": "top-3", "targets": "all-linear"}),
    ),
    "lokr": (
        ("lokr", {"rank": 2, "alpha": 4.0}),
        ("lokr", {"rank": 4, "alpha": 8.0, "layers": "top-2", "targets": "all-linear"}),
    ),
    "lokr-factors": (("lokr", {"rank": 3, "factor": 4}), ("lokr", {"rank": 2, "factor": 2, "alpha": 4.0})),
    "methods": (("adalora", {"initial_rank": 6, "rank": 4}), ("loha", {"rank": 2, "alpha": 4.0})),
    "forms": (("dora", {"rank": 4}), ("lokr", {"rank": 4, "alpha": 8.0})),
}
"""Two adapters of unlike ranks, layers and options."""


TEXTS = (
    "A short one.",
    "The probe sent pictures of a distant moon, and nobody on the ground believed them.",
    "Fry the onions until they are golden.",
    "Lemon and butter go well with trout, and with little else.",
)
SPREAD = 0.15


def make_method(name: str, options: Mapping[str, Any]) -> Any:
    """Return a registered method with options."""
    method = registry.get("adapters", name)
    return method(validated(method.Config, dict(options), "adapter"))


def saved_adapter(backbone: Backbone, method: Any, folder: Path, seed: int) -> Saved:
    """Attach an adapter, move its parameters by random numbers and save it."""
    folder.mkdir()
    torch.manual_seed(seed)
    model = method.attach(backbone)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * SPREAD)
            if "lora_E" in name:  # AdaLoRA's singular values: unlike numbers of them are pruned
                parameter[: int(torch.randint(0, len(parameter), ()))] = 0.0
    method.save(model, backbone, folder)
    backbone.detach()
    return Saved(method, folder)


def tokens_of(backbone: Backbone) -> list[list[int]]:
    """Return the token ids of the texts, of unequal lengths."""
    return backbone.tokenize(list(TEXTS), 32)


@torch.no_grad()
def alone(backbone: Backbone, adapter: Saved | None, ids: list[int]) -> Tensor:
    if adapter is not None:
        return adapter.alone(backbone, ids).float()
    states: Tensor = backbone.model(**padded([ids])).last_hidden_state[0]
    return states.float()


def together(backbone: Backbone, rows: Sequence[Saved | None], ids: Sequence[list[int]]) -> list[Tensor]:
    mixing = {one: one.mixing(backbone) for one in rows if one is not None}
    return [row.float() for row in mixed(backbone, [None if one is None else mixing[one] for one in rows], ids)]


def _adapters(backbone: Backbone, pair: str, folder: Path) -> list[Saved]:
    return [
        saved_adapter(backbone, make_method(name, options), folder / f"adapter-{seed}", seed)
        for seed, (name, options) in enumerate(PAIRS[pair])
    ]


def _rows(adapters: list[Saved]) -> list[Saved | None]:
    return [adapters[0], adapters[1], None, adapters[0]]


def _apart(ones: list[Tensor], others: list[Tensor]) -> list[float]:
    """Return the largest difference of each row's states."""
    for one in (*ones, *others):
        assert torch.isfinite(one).all()
    return [float((one - other).abs().max()) for one, other in zip(ones, others, strict=True)]


@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-llama"])
@pytest.mark.parametrize("pair", PAIRS)
def test_rows_have_the_states_that_they_have_alone(pair: str, backbone: str, fresh: Fresh, tmp_path: Path) -> None:
    base = fresh(backbone)
    adapters, ids = _adapters(base, pair, tmp_path), tokens_of(base)
    rows = _rows(adapters)
    expected = [alone(base, adapter, row) for adapter, row in zip(rows, ids, strict=True)]
    bare = [alone(base, None, row) for row in ids]
    assert all(moved > 0.05 for moved, adapter in zip(_apart(expected, bare), rows, strict=True) if adapter)
    far = _apart(together(base, rows, ids), expected)
    assert max(far) <= 1e-5
    others = [adapters[1], adapters[0], adapters[0], adapters[1]]
    assert min(_apart(together(base, others, ids), expected)) > 1e-3


@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-llama"])
@pytest.mark.parametrize("pair", PAIRS)
def test_rows_in_bf16(pair: str, backbone: str, fresh: Fresh, tmp_path: Path) -> None:
    base = fresh(backbone, precision="bf16")
    adapters, ids = _adapters(base, pair, tmp_path), tokens_of(base)
    rows = _rows(adapters)
    expected = [alone(base, adapter, row) for adapter, row in zip(rows, ids, strict=True)]
    actual = together(base, rows, ids)
    assert max(_apart(actual, expected)) < 1.0
    assert min(map(_cosine, actual, expected)) >= 0.9999


@pytest.mark.parametrize(
    ("pair", "quantization", "backbone"),
    [
        ("lora", "nf4", "tiny-bert"),
        ("lora", "nf4", "tiny-llama"),
        ("dora", "nf4", "tiny-bert"),
        ("lora", "int8", "tiny-llama"),
        ("lokr", "int8", "tiny-bert"),
        ("loha", "int8", "tiny-bert"),
    ],
)
def test_rows_on_quantized_weights(pair: str, quantization: str, backbone: str, fresh: Fresh, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    base = fresh(backbone, quantization=quantization)
    adapters, ids = _adapters(base, pair, tmp_path), tokens_of(base)
    rows = _rows(adapters)
    expected = [alone(base, adapter, row) for adapter, row in zip(rows, ids, strict=True)]
    actual = together(base, rows, ids)
    assert min(map(_cosine, actual, expected)) >= 0.9999
    if quantization == "nf4":  # int8 rounds states anew in each layer, where a last bit may turn a step
        assert max(_apart(actual, expected)) <= 1e-5
    others = [adapters[1], adapters[0], adapters[0], adapters[1]]
    assert min(_apart(together(base, others, ids), expected)) > 1e-2


@pytest.mark.parametrize(
    ("name", "quantization"),
    [("lora", "none"), ("lora", "nf4"), ("adalora", "none"), ("dora", "none"), ("dora", "nf4")],
)
def test_rows_in_a_pass_of_the_same_shape_in_bf16(name: str, quantization: str, fresh: Fresh, tmp_path: Path) -> None:
    """Nearer than in any other batch shape: products are rounded where PEFT does it.

    AdaLoRA in nf4 has no form: PEFT rounds its product before it is scaled, and scales are in our tensors.
    """
    if quantization == "nf4":
        pytest.importorskip("bitsandbytes")
    base = fresh("tiny-llama", precision="bf16", quantization=quantization)
    adapter = saved_adapter(base, make_method(name, {}), tmp_path / "adapter", 0)
    ids = [row[:4] for row in tokens_of(base)]
    rows = [adapter] * len(ids)
    model = adapter.method.load(base, adapter.folder).eval()
    with torch.no_grad():
        expected = list(model(**padded(ids)).last_hidden_state.float())
    base.detach()
    actual = together(base, rows, ids)
    assert max(_apart(actual, expected)) < 1.0
    assert min(map(_cosine, actual, expected)) >= 0.99998


@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-llama"])
def test_a_strangers_method_shares_the_pass(
    backbone: str, fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MiSS of the example package; its rank does not divide the width."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    miss = importlib.import_module("llmrec_example_plugin.miss")
    base = fresh(backbone)
    adapters = [
        saved_adapter(base, miss.Miss(miss.MissOptions(rank=5)), tmp_path / "miss", 0),
        saved_adapter(base, make_method("lora", {"rank": 3, "alpha": 6.0}), tmp_path / "lora", 1),
    ]
    assert adapters[0].mixing(base)[0].key == adapters[1].mixing(base)[0].key
    ids, rows = tokens_of(base), _rows(adapters)
    expected = [alone(base, adapter, row) for adapter, row in zip(rows, ids, strict=True)]
    assert max(_apart(together(base, rows, ids), expected)) <= 1e-5


@pytest.mark.parametrize("pair", ["lora", "dora", "adalora"])
def test_transposed_weights_of_gpt2(pair: str, fresh: Fresh, tmp_path: Path) -> None:
    base = fresh("tiny-gpt2")
    adapters, ids = _adapters(base, pair, tmp_path), tokens_of(base)
    rows = _rows(adapters)
    expected = [alone(base, adapter, row) for adapter, row in zip(rows, ids, strict=True)]
    assert max(_apart(together(base, rows, ids), expected)) <= 1e-5


def test_loha_is_run_by_itself_where_that_takes_fewer_multiplications(fresh: Fresh) -> None:
    """In the tiny BERT rank² · (32 + 32) are more than 32 · 32 from rank 5 on."""
    base = fresh("tiny-bert")
    forms = [make_method("loha", {"rank": rank}).batched(base) for rank in (1, 4, 5, 8)]
    assert [form is None for form in forms] == [False, False, True, True]


@pytest.mark.parametrize("name", ["lora", "adalora", "loha", "dora", "lokr"])
def test_a_tensor_without_a_module_is_refused(name: str, fresh: Fresh, tmp_path: Path) -> None:
    base = fresh("tiny-bert")
    adapter = saved_adapter(base, make_method(name, {"rank": 2, "layers": "top-2"}), tmp_path / "adapter", 0)
    tensors = load_file(adapter.folder / "adapter_model.safetensors")
    first, form = min(tensors), adapter.mixing(base)[0]
    with pytest.raises(InputError, match=r"fit no module of the base, first .*stray"):
        filled(form, {**tensors, f"{first}.stray": tensors[first]}, base, "adapter")
    moved = {key.replace("layer.3", "layer.9"): tensor for key, tensor in tensors.items()}
    with pytest.raises(InputError, match=r"the base has no (module|linear layer) encoder.layer.9"):
        filled(form, moved, base, "adapter")
    with pytest.raises(InputError, match=r"fit no module of the base|and no"):
        filled(form, {key: tensor for key, tensor in tensors.items() if key != first}, base, "adapter")


def _cosine(one: Tensor, other: Tensor) -> float:
    """Return the cosine of two texts' mean states."""
    return float(torch.cosine_similarity(one.double().mean(0), other.double().mean(0), dim=0))
