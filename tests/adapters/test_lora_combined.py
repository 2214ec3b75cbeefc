"""Combined LoRA: what is written is the sum of the saved updates, whatever their ranks and scales are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from llmrec_adapters.lora import Lora, LoraOptions
from safetensors.torch import load_file
from torch import Tensor

from llmrec_peft.backbone.adapter import SavedAdapter
from llmrec_peft.backbone.combination import Combination
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.errors import InputError
from llmrec_peft.recipe.sections import BackboneSection

Saved = Callable[..., SavedAdapter]


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def backbone(request: pytest.FixtureRequest, tiny_backbone: Path) -> Backbone:
    """The tiny encoder, bare."""
    return load_backbone(BackboneSection(name=str(tiny_backbone), precision=request.param), torch.device("cpu"))


@pytest.fixture
def saved(backbone: Backbone, tmp_path: Path) -> Saved:
    """Save a LoRA with random B, by seed and options."""

    def save(seed: int, **options: Any) -> SavedAdapter:
        method, folder = Lora(LoraOptions.model_validate(options)), tmp_path / f"saved-{seed}"
        torch.manual_seed(seed)
        model = method.attach(backbone)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
        folder.mkdir()
        method.save(model, backbone, folder)
        backbone.detach()
        return SavedAdapter(method, folder)

    return save


def updates(adapter: SavedAdapter, backbone: Backbone) -> dict[str, Tensor]:
    """Scale · B A of every layer, by hand, from the file."""
    config: Any = adapter.method.saved_config(backbone)  # type: ignore[attr-defined]
    scale = config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r)
    tensors = load_file(adapter.folder / "adapter_model.safetensors")
    ends = {name: name.replace("lora_A", "lora_B") for name in tensors if "lora_A" in name}
    return {first: scale * tensors[second].double() @ tensors[first].double() for first, second in ends.items()}


def combined(
    parts: list[SavedAdapter], how: Combination, backbone: Backbone, folder: Path, rank: int | None = None
) -> SavedAdapter:
    """Write the combination, load it as a run would, and return it."""
    first, *others = (part.method for part in parts)
    options = first.combined_options(others, rank, backbone)
    method = Lora(LoraOptions.model_validate(options.model_dump()))
    folder.mkdir()
    method.combine(parts, how, backbone, folder)
    method.load(backbone, folder)
    backbone.detach()
    return SavedAdapter(method, folder)


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Largest distance of two updates, relative to the first."""
    assert one.keys() == other.keys()
    assert all(tensor.isfinite().all() and tensor.norm() > 0 for tensor in one.values())
    return max(float((one[name] - other[name]).norm() / one[name].norm()) for name in one)


def test_linear_is_the_weighted_sum_of_updates_of_unlike_ranks_and_scales(
    backbone: Backbone, saved: Saved, tmp_path: Path
) -> None:
    parts = [saved(1, rank=2), saved(2, rank=5, alpha=3, rslora=True), saved(3, rank=3, start="pissa")]
    weights = (0.5, -0.2, 0.7)
    found = updates(combined(parts, Combination(weights), backbone, tmp_path / "sum"), backbone)
    own = [updates(part, backbone) for part in parts]
    by_hand = {name: sum(w * one[name] for w, one in zip(weights, own, strict=True)) for name in own[0]}
    assert apart(by_hand, found) < 1e-6  # the base's number format does not round it either


def test_rank_stabilized_adapters_keep_their_scale(backbone: Backbone, saved: Saved, tmp_path: Path) -> None:
    parts = [saved(1, rank=4, rslora=True), saved(2, rank=4, rslora=True)]
    found = updates(combined(parts, Combination((1.0, 0.0)), backbone, tmp_path / "one"), backbone)
    assert apart(updates(parts[0], backbone), found) < 1e-6


def test_fewer_ranks_give_the_best_approximation(backbone: Backbone, saved: Saved, tmp_path: Path) -> None:
    parts = [saved(1, rank=3), saved(2, rank=3)]
    mean = Combination.mean(2)
    whole = updates(combined(parts, mean, backbone, tmp_path / "whole"), backbone)
    found = updates(combined(parts, mean, backbone, tmp_path / "low", rank=2), backbone)
    for name, update in whole.items():
        left = torch.linalg.svdvals(update)[2:]
        assert torch.allclose((update - found[name]).norm(), left.norm(), rtol=1e-4)


@pytest.mark.parametrize("options", [{"rank": 4, "alpha": 3}, {"rank": 7}, {"rank": 4, "rslora": True}])
def test_single_adapter_is_brought_to_another_scale_or_a_higher_rank(
    backbone: Backbone, saved: Saved, tmp_path: Path, options: dict[str, Any]
) -> None:
    part, method = saved(1, rank=4), Lora(LoraOptions.model_validate(options))
    (tmp_path / "other").mkdir()
    method.combine([part], Combination((1.0,)), backbone, tmp_path / "other")
    found = updates(SavedAdapter(method, tmp_path / "other"), backbone)
    assert apart(updates(part, backbone), found) < 1e-5


def test_ties_keeps_what_agrees_and_drops_what_does_not(backbone: Backbone, saved: Saved, tmp_path: Path) -> None:
    parts = [saved(1, rank=3), saved(2, rank=3)]
    every = Combination((1.0, 1.0), "ties", density=1.0)
    found = updates(combined(parts, every, backbone, tmp_path / "ties", rank=32), backbone)
    first, second = (updates(part, backbone) for part in parts)
    for name, update in found.items():
        one, other = first[name], second[name]
        sign = (one + other).sign()
        agreeing = torch.stack([torch.where(part.sign() == sign, part, 0.0) for part in (one, other)])
        by_hand = agreeing.sum(0) / (agreeing != 0).sum(0).clamp(min=1)
        assert (update - by_hand).norm() < 1e-5 * by_hand.norm()


def test_dare_depends_on_its_seed_alone(backbone: Backbone, saved: Saved, tmp_path: Path) -> None:
    parts = [saved(1, rank=3), saved(2, rank=3)]
    found = []
    for at, seed in enumerate((1, 1, 2)):
        torch.manual_seed(at)
        how = Combination((0.5, 0.5), "dare-linear", density=0.5, seed=seed)
        found.append(updates(combined(parts, how, backbone, tmp_path / str(at)), backbone))
    assert apart(found[0], found[1]) == 0.0
    assert apart(found[0], found[2]) > 0.1


def test_combining_leaves_the_base_bare_and_the_callers_draws_alone(
    backbone: Backbone, saved: Saved, tmp_path: Path
) -> None:
    parts, names = [saved(1, rank=2), saved(2, rank=2)], [name for name, _ in backbone.model.named_modules()]
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    method = Lora(LoraOptions(rank=2))
    (tmp_path / "dare").mkdir()
    method.combine(parts, Combination((0.5, 0.5), "dare-ties"), backbone, tmp_path / "dare")
    assert torch.equal(torch.rand(3), expected)
    assert [name for name, _ in backbone.model.named_modules()] == names


def test_other_layers_are_refused(backbone: Backbone, saved: Saved, tmp_path: Path) -> None:
    parts = [saved(1, rank=2, layers="top-1"), saved(2, rank=2, layers="top-2")]
    with pytest.raises(InputError, match="layers that are adapted differ"):
        combined(parts, Combination.mean(2), backbone, tmp_path / "odd")


def test_ranks_above_the_width_have_to_be_chosen(backbone: Backbone, saved: Saved, tmp_path: Path) -> None:
    parts = [saved(1, rank=20), saved(2, rank=20)]
    with pytest.raises(InputError, match="add up to 40, above the base's width 32"):
        combined(parts, Combination.mean(2), backbone, tmp_path / "wide")
    with pytest.raises(InputError, match="rank 0"):
        combined(parts, Combination.mean(2), backbone, tmp_path / "none", rank=0)
