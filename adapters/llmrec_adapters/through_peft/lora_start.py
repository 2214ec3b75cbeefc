"""PiSSA and OLoRA starts on an untouched base: what is laid into A and B is taken off again beside them.

PEFT writes W - s B₀ A₀ into the base weights; here W stays as it is (others share it, its hash names it, and it may
be quantized) and the layer's output has s B₀ A₀ x subtracted instead, which is the same function.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmrec_peft.plugins import write_adapter

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.plugins import Backbone

_EXACT = 2048
"""Largest matrix side that is decomposed exactly; larger ones by a randomized method, as PEFT does."""


def lay_in(model: nn.Module, start: str) -> None:
    """Fill A and B of every LoRA layer from its own weight and subtract them from its output.

    Args:
        model: `PeftModel` with fresh LoRA layers.
        start: ``pissa`` or ``olora``.
    """
    import torch
    from peft.utils.integrations import dequantize_module_weight

    with torch.no_grad():
        for _, layer in _layers(model):
            weight = dequantize_module_weight(layer.get_base_layer()).float()
            weight = weight.T if layer.fan_in_fan_out else weight
            a, b = _factors(weight, layer.r["default"], layer.scaling["default"], start)
            layer.lora_A["default"].weight.copy_(a)
            layer.lora_B["default"].weight.copy_(b)
            layer.register_buffer("start_A", a.clone().to(layer.lora_A["default"].weight.device), persistent=False)
            layer.register_buffer("start_B", b.clone().to(layer.lora_B["default"].weight.device), persistent=False)
            layer.start_hook = layer.register_forward_hook(_take_off)


def is_laid_in(model: nn.Module) -> bool:
    """Whether the layers subtract a start; a loaded adapter is the plain LoRA that was saved and does not."""
    return any(hasattr(layer, "start_A") for _, layer in _layers(model))


def fold_in(model: nn.Module) -> None:
    """Turn every layer into a plain LoRA of twice the rank that equals the difference from its start."""
    import torch

    for _, layer in _layers(model):
        layer.start_hook.remove()
        a, b = _difference(layer)
        layer.lora_A["default"].weight = torch.nn.Parameter(a)
        layer.lora_B["default"].weight = torch.nn.Parameter(b)


def save_difference(model: nn.Module, backbone: Backbone, folder: Path) -> None:
    """Save as a plain LoRA of twice the rank, which any PEFT loads onto the untouched base."""
    peft_model = cast(Any, model)
    tensors: dict[str, Tensor] = {}
    for name, layer in _layers(model):
        a, b = _difference(layer)
        tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = a, b
    plain = {**of_difference(peft_model.peft_config["default"]).to_dict(), "inference_mode": True}
    write_adapter(folder, backbone, plain, tensors)


def of_difference(config: Any) -> Any:
    """Make the configuration of a plain LoRA of twice the rank with the same scale."""
    scaling = config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)
    rank = 2 * config.r
    return replace(config, r=rank, lora_alpha=scaling * (math.sqrt(rank) if config.use_rslora else rank))


def _layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def _difference(layer: Any) -> tuple[Tensor, Tensor]:
    import torch

    a, b = layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach()
    return torch.cat([a, layer.start_A]), torch.cat([b, -layer.start_B], dim=1)


def _factors(weight: Tensor, rank: int, scaling: float, start: str) -> tuple[Tensor, Tensor]:
    """Compute A [rank, in] and B [out, rank] such that scaling · B A is the chosen part of the weight."""
    import torch

    if start == "olora":
        q, r = torch.linalg.qr(weight)
        return r[:rank].contiguous(), q[:, :rank].contiguous()
    if max(weight.shape) <= _EXACT:
        u, s, vh = torch.linalg.svd(weight, full_matrices=False)
        u, s, vh = u[:, :rank], s[:rank], vh[:rank]
    else:
        u, s, v = torch.svd_lowrank(weight, q=rank, niter=16)
        vh = v.T
    root = (s / scaling).sqrt()
    return (root[:, None] * vh).contiguous(), (u * root).contiguous()


def _take_off(layer: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
    import torch.nn.functional as F

    if layer.disable_adapters or layer.merged:
        return output
    x = args[0].to(layer.start_A.dtype)
    start: Tensor = F.linear(F.linear(x, layer.start_A), layer.start_B) * layer.scaling["default"]
    return output - start.to(output.dtype)
