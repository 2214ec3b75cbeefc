"""Standard: text vectors centred and scaled, so that differences between texts of one kind count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def standard(vectors: Tensor) -> nn.ParameterDict:
    """Return the frozen centre and scale of some vectors [n, width]: their mean, and mean distance from it."""
    centre = vectors.float().mean(0)
    scale = (vectors.float() - centre).norm(dim=1).mean().clamp(min=1e-6).reshape(1)
    return _frozen(centre, scale)


def empty_standard(like: Tensor) -> nn.ParameterDict:
    """Return a centre and scale to be loaded, for vectors as wide as `like` [width]."""
    import torch

    return _frozen(torch.zeros(len(like)), torch.ones(1))


def standardized(parts: Any, vectors: Tensor) -> Tensor:
    """Return vectors [..., width] centred and scaled, float32."""
    scaled: Tensor = (vectors - parts["centre"]) / parts["scale"]
    return scaled


def _frozen(centre: Tensor, scale: Tensor) -> nn.ParameterDict:
    from torch import nn

    tensors = {"centre": centre, "scale": scale}
    return nn.ParameterDict({name: nn.Parameter(value, requires_grad=False) for name, value in tensors.items()})
