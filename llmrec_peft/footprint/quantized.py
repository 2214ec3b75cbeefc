"""Stand-ins for bitsandbytes' linear layers: they allocate and save the same tensors and compute nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_BLOCK = 64
"""Weights that share one scale in nf4."""
_NESTED = 256
"""Scales that share one scale, where scales are themselves stored in 8 bits (double quantization)."""


class _Dequantized(torch.autograd.Function):
    """A product with a weight that is unpacked for it, forward and backward (`MatMul4Bit`)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, features: int, bias: Tensor | None) -> Tensor:
        ctx.features, ctx.shape = features, x.shape
        return nn.functional.linear(x, x.new_empty(features, x.shape[-1]), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        return gradient @ gradient.new_empty(ctx.features, ctx.shape[-1]), None, None


class _Int8(torch.autograd.Function):
    """A product of rounded inputs and weights (`MatMul8bitLt`), which keeps its input for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, features: int, bias: Tensor | None) -> Tensor:
        ctx.features, ctx.kept = features, x
        rounded = x.half().to(torch.int8)
        # without a kernel of its own the CPU multiplies in fp32 and rounds the product to whole numbers
        product = (rounded.float() @ x.new_empty(features, x.shape[-1], dtype=torch.float32).t()).to(torch.int32)
        result = product.float().to(x.dtype)
        return result if bias is None else result + bias

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        return gradient @ gradient.new_empty(ctx.features, ctx.kept.shape[-1]), None, None


class _StandIn(nn.Linear):
    """A linear layer whose weight is packed; a method that reads the weight gets one of its whole size."""

    W_q = None
    """What tells PEFT to call `dequantize`: its DoRA asks so for layers that HQQ has quantized."""
    unpacked: torch.dtype

    def dequantize(self) -> Tensor:
        """Return a tensor of the whole weight's size."""
        return torch.empty(self.out_features, self.in_features, dtype=self.unpacked)


class Int8StandIn(_StandIn):
    """A linear layer in 8 bits: a byte a weight and an fp32 scale a row."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the product's shape and dtype."""
        result: Tensor = _Int8.apply(x, self.out_features, self.bias)  # type: ignore[no-untyped-call]
        return result


class Nf4StandIn(_StandIn):
    """A linear layer in 4 bits: half a byte a weight, an 8-bit scale a block, an fp32 scale per 256 of those."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the product's shape and dtype."""
        result: Tensor = _Dequantized.apply(x, self.out_features, self.bias)  # type: ignore[no-untyped-call]
        return result


def quantized_bytes(weights: int, rows: int, quantization: str) -> int:
    """Return the bytes of a matrix of `weights` numbers in `rows` rows, scales included."""
    if quantization == "int8":
        return weights + 4 * rows
    blocks = -(-weights // _BLOCK)
    return -(-weights // 2) + blocks + 4 * -(-blocks // _NESTED)


def stand_in(layer: nn.Module, quantization: str) -> None:
    """Turn a linear layer into a stand-in of one that bitsandbytes has quantized; its bias stays."""
    if not isinstance(layer, nn.Linear) or type(layer) is not nn.Linear:
        return
    size = quantized_bytes(layer.weight.numel(), layer.out_features, quantization)
    unpacked = layer.weight.dtype
    layer._parameters["weight"] = nn.Parameter(torch.empty(size, dtype=torch.uint8, device="meta"), requires_grad=False)
    layer.__class__ = Int8StandIn if quantization == "int8" else Nf4StandIn
    layer.unpacked = unpacked  # type: ignore[assignment]  # the class was set above


def let_methods_unpack(model: nn.Module) -> None:
    """Let PEFT's layers that read the weight they adapt (MiSS's variant `bat`) have it unpacked by a stand-in."""
    from peft.utils.quantization_utils import HqqBackend

    for module in model.modules():
        if isinstance(getattr(module, "base_layer", None), _StandIn) and hasattr(module, "quantization_backend"):
            module.quantization_backend = HqqBackend()  # it calls `dequantize`
