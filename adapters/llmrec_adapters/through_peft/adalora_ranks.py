"""AdaLoRA's ranks inside PEFT's layers: which are left, which a file may keep, and in what format they are loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "default"
"""PEFT's name of the one adapter in a model."""


def tuner_of(model: nn.Module) -> Any:
    """Return PEFT's `AdaLoraModel` inside its `PeftModel`; without a `rankallocator` it is a plain LoRA's."""
    return cast(Any, model).base_model


def adalora_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the adapted layers with their names in the `PeftModel`."""
    from peft.tuners.adalora import AdaLoraLayer

    for name, module in model.named_modules():
        if isinstance(module, AdaLoraLayer):
            yield name, module


def with_frozen_divisor(model: nn.Module) -> nn.Module:
    """Freeze `ranknum`, which PEFT 0.21 turns trainable when it casts a bf16 adapter to fp32.

    It is never saved, so a trained one would make the saved adapter another than the trained one.
    """
    for _, layer in adalora_layers(model):
        layer.ranknum[NAME].requires_grad_(False)
    return model


def loaded_in_fp32(model: nn.Module) -> nn.Module:
    """Let the ranks that a file keeps be loaded in fp32, in which they were trained.

    PEFT 0.21 makes each layer's matrices anew for its ranks, in the format of the base, and rounds the file's numbers
    to bf16 there: states of a tiny Llama had a cosine of 0.9999 with those of the adapter that was saved.
    """
    tuner = tuner_of(model)
    resize = tuner.resize_modules_by_rank_pattern

    def resized(ranks: Mapping[str, Any], adapter: str) -> None:
        resize(ranks, adapter)
        for _, layer in adalora_layers(model):
            for part in (layer.lora_A, layer.lora_E, layer.lora_B, layer.ranknum):
                part[adapter] = part[adapter].detach().float()  # which the dictionary makes a parameter
        with_frozen_divisor(model)

    tuner.resize_modules_by_rank_pattern = resized
    return model


def alive_ranks(layer: Any) -> Tensor:
    """Return which ranks a layer keeps, bool [initial_rank]; at least one, since PEFT saves no empty matrix."""
    alive: Tensor = layer.lora_E[NAME].detach().view(-1) != 0
    if not bool(alive.any()):
        alive[0] = True
    return alive


def require_ranks(model: nn.Module, config: Any) -> None:
    """Refuse ranks of other layers than those that are adapted, and layers that keep none or more than there were.

    Raises:
        ValueError: Naming the layer.
    """
    if config.rank_pattern is None:  # a fresh adapter
        return
    targets = re.compile(config.target_modules)
    layers = {f"{name}.lora_E" for name, _ in model.named_modules() if targets.fullmatch(name)}
    for name in sorted(layers ^ config.rank_pattern.keys()):
        raise ValueError(f"rank_pattern {'lacks' if name in layers else 'names the unknown'} {name[:200]!r}")
    for name, kept in config.rank_pattern.items():
        if len(kept) != config.init_r or not any(kept):
            raise ValueError(
                f"rank_pattern of {name} keeps {sum(kept)} of {len(kept)} ranks; {config.init_r} were there"
            )
