"""The memory check's figures against independent counts: real tensors, bitsandbytes' own layers, published sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from llmrec_peft import registry
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.errors import InputError
from llmrec_peft.footprint.check import check, footprint_of
from llmrec_peft.footprint.quantized import quantized_bytes
from llmrec_peft.footprint.rehearsal import Rehearsal, bare_on_meta, rehearse
from llmrec_peft.footprint.sizes import parse_memory
from llmrec_peft.recipe import load_recipe
from llmrec_peft.recipe.sections import BackboneSection


def _method(name: str, **options: object) -> object:
    plugin = registry.get("adapters", name)
    return plugin(plugin.Config(**options))


def _rehearsed(
    folder: Path, name: str = "lora", rows: int = 8, recompute: bool = False, **options: object
) -> Rehearsal:
    method = _method(name, **options)
    return rehearse(bare_on_meta(folder, torch.float32), method, "none", recompute, rows, 16)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "layers"), [("lora", "all"), ("lora", "top-1"), ("miss", "all"), ("shira", "all")])
def test_kept_bytes_are_those_that_autograd_really_saves(tiny_backbone: Path, name: str, layers: str) -> None:
    backbone = load_backbone(BackboneSection(name=str(tiny_backbone), precision="fp32"), torch.device("cpu"))
    weights = {p.untyped_storage().data_ptr() for p in backbone.model.parameters()}
    model = _method(name, layers=layers).attach(backbone)  # type: ignore[attr-defined]
    weights |= {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    mask = torch.ones(8, 16, dtype=torch.long)
    mask[0, 8:] = 0  # padding, as the rehearsal assumes
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(input_ids=torch.zeros_like(mask), attention_mask=mask).last_hidden_state.sum()
    found = _rehearsed(tiny_backbone, name, layers=layers).kept
    assert found == pytest.approx(sum(saved.values()), rel=0.1)


def test_trained_parameters_are_the_methods_own_count(tiny_backbone: Path) -> None:
    shapes = bare_on_meta(tiny_backbone, torch.float32).shapes
    for name in ("lora", "bottleneck", "full", "prefix", "miss", "shira"):
        expected = _method(name).parameter_count(shapes)  # type: ignore[attr-defined]
        assert _rehearsed(tiny_backbone, name).trained == 4 * expected, name


def test_indices_count_as_memory_of_the_adapter(tiny_backbone: Path) -> None:
    """Two whole numbers of 32 bits beside each trained number."""
    found = _rehearsed(tiny_backbone, "shira")
    assert found.adapter == 3 * found.trained


@pytest.mark.parametrize(("name", "options"), [("dora", {}), ("miss", {"variant": "bat"}), ("shira", {}), ("miss", {})])
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_methods_that_read_the_weight_are_counted_on_quantized_ones(
    quantization: str, name: str, options: dict[str, Any], tiny_backbone: Path
) -> None:
    method = _method(name, **options)
    found = rehearse(bare_on_meta(tiny_backbone, torch.float32), method, quantization, False, 8, 16)  # type: ignore[arg-type]
    whole = _rehearsed(tiny_backbone, name, **options)
    assert (found.adapter, found.trained) == (whole.adapter, whole.trained)
    assert found.base < whole.base
    assert found.kept > 0


def test_frozen_layers_below_keep_nothing_and_recomputing_keeps_less(tiny_backbone: Path) -> None:
    whole, top = _rehearsed(tiny_backbone), _rehearsed(tiny_backbone, layers="top-1")
    assert top.kept < whole.kept / 2
    assert _rehearsed(tiny_backbone, recompute=True).kept < whole.kept / 2
    assert _rehearsed(tiny_backbone, "none").backward == 0


def test_activations_grow_with_rows(tiny_backbone: Path) -> None:
    assert _rehearsed(tiny_backbone, rows=16).kept == pytest.approx(
        2 * _rehearsed(tiny_backbone, rows=8).kept, rel=0.01
    )


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_quantized_bytes_are_what_bitsandbytes_holds(quantization: str) -> None:
    bnb = pytest.importorskip("bitsandbytes")
    weight = torch.randn(1536, 576)
    if quantization == "nf4":
        packed, state = bnb.functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
        held = packed.nbytes + state.absmax.nbytes + state.state2.absmax.nbytes
    else:
        packed, scales, _ = bnb.functional.int8_vectorwise_quant(weight.half())
        held = packed.nbytes + scales.nbytes
    assert quantized_bytes(weight.numel(), 1536, quantization) == held


@pytest.mark.trains
@pytest.mark.parametrize(
    ("shape", "parameters"),
    [((4096, 32, 32, 11008, 32000), 6_607_343_616), ((4096, 32, 8, 14336, 128256), 7_504_924_672)],
)
def test_paper_shapes_of_seven_and_eight_billion(
    tmp_path: Path, shape: tuple[int, int, int, int, int], parameters: int
) -> None:
    width, heads, groups, inner, vocabulary = shape
    LlamaConfig(
        hidden_size=width,
        num_hidden_layers=32,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        intermediate_size=inner,
        vocab_size=vocabulary,
        dtype="bfloat16",
    ).save_pretrained(tmp_path)
    backbone = bare_on_meta(tmp_path, torch.bfloat16)
    found = rehearse(backbone, _method("lora", rank=16), "nf4", True, 4, 512)  # type: ignore[arg-type]
    assert found.weights == parameters  # without the output matrix, which a bare transformer has not
    linear = parameters - vocabulary * width - 65 * width
    assert found.base == pytest.approx(linear * (0.5 + 1 / 64 + 4 / 64 / 256) + 2 * (vocabulary + 65) * width, rel=1e-4)
    assert found.kept >= 32 * 4 * 512 * width * 2  # the input of every layer


@pytest.mark.trains
def test_settings_that_fit_are_offered_and_do_fit(tiny_backbone: Path) -> None:
    recipe = load_recipe("movies", [f"backbone.name={tiny_backbone}", "adapter.layers=all"], {"data.path": "demo"})
    total = footprint_of(recipe, cuda=False).total
    answer = check(recipe, total - 1, None, None, cuda=False)
    assert not answer["fits"]
    assert answer["settings"]
    for setting in answer["settings"]:
        assert footprint_of(recipe.changed(setting["changes"]), cuda=False).total == setting["total"] < total
    assert check(recipe, total, None, None, cuda=False)["fits"]


def test_no_weights_are_needed(tmp_path: Path) -> None:
    LlamaConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96, vocab_size=128,
                architectures=["LlamaForCausalLM"]).save_pretrained(tmp_path)  # fmt: skip
    recipe = load_recipe("movies", [f"backbone.name={tmp_path}"])
    few, many = (footprint_of(recipe, users=users, items=100, cuda=False) for users in (100, 100_000))
    assert many.total - few.total >= 99_900 * recipe.fusion.dim * 4 * 4  # weights, gradients and two moments
    assert any("no data given" in line for line in few.assumptions)


RECIPES = ("movies", "tallrec-movie", "collm-ml-1m", "amazon-scientific", "ecommerce")


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("data", ["demo", None])
def test_every_shipped_recipe_can_be_checked(name: str, data: str | None, tiny_backbone: Path) -> None:
    narrow = ["fusion.dim=32"] if name == "amazon-scientific" else []  # its vectors are the language model's own
    small = [f"backbone.name={tiny_backbone}", "views.item.max_length=48", *narrow]
    found = footprint_of(load_recipe(name, small, {"data.path": data}), cuda=False)
    assert found.parts["base"] > 0
    assert (data is None) == any("no data given" in line for line in found.assumptions)
    assert any("columns as in the demo data" in line for line in found.assumptions) == (
        data is None and name in ("tallrec-movie", "collm-ml-1m", "amazon-scientific")
    )


@pytest.mark.parametrize("data", ["demo", None])
def test_columns_histories_and_tokens_in_prompts_are_counted(data: str | None, tiny_backbone: Path) -> None:
    def found(name: str, *overrides: str) -> dict[str, dict[str, int]]:
        recipe = load_recipe(name, [f"backbone.name={tiny_backbone}", *overrides], {"data.path": data})
        return footprint_of(recipe, cuda=False).phases

    plain = found("movies")
    featured = found("movies", "signals.features={items: [genres, year]}")
    assert featured["checkpoint"]["U, I, R and head"] > plain["checkpoint"]["U, I, R and head"]
    assert found("movies", "signals.history={}")["step"]["activations"] > plain["step"]["activations"]
    prompted = ("head.feed=prompt", "views.prompt.max_length=32", "adapter={method: lora}", "signals.taste=false")
    read = found("tallrec-movie", *prompted)
    put_in = found("tallrec-movie", *prompted, "signals.soft_tokens={}")
    assert read["step"]["activations"] > found("tallrec-movie", "adapter={method: lora}")["encoding"]["activations"]
    assert put_in["checkpoint"]["U, I, R and head"] > read["checkpoint"]["U, I, R and head"]


def test_texts_that_the_model_cannot_read_are_refused(tiny_backbone: Path) -> None:
    recipe = load_recipe("movies", [f"backbone.name={tiny_backbone}", "views.item.max_length=96"])
    with pytest.raises(InputError, match=r"views\.item\.max_length: .* up to 96 tokens, over the 64 that"):
        footprint_of(recipe, cuda=False)


def test_column_that_nothing_has_is_refused_without_data_too(tiny_backbone: Path) -> None:
    recipe = load_recipe("movies", [f"backbone.name={tiny_backbone}", "signals.features={items: [colour]}"])
    with pytest.raises(InputError, match=r"signals\.features\.items: the data has no column 'colour'"):
        footprint_of(recipe, cuda=False)


@pytest.mark.parametrize("text", ["12", "GB", "-3GB", "0GB", "12 parsecs", "1e3GB", "nanGB", ""])
def test_amounts_that_say_nothing_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--gpu"):
        parse_memory(text)
