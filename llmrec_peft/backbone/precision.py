"""Precision: the number format in which this machine computes fastest, and the one that a recipe asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def best_device() -> torch.device:
    """Return the first CUDA device, or the CPU."""
    import torch

    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def computes_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bf16 matrices in hardware; elsewhere bf16 is slower than fp32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Turn ``auto``, ``fp32`` or ``bf16`` into a dtype for the device."""
    import torch

    if precision == "auto":
        return torch.bfloat16 if computes_bf16(device) else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
