"""SHiRA's layers: PEFT's own, except that the sparse update is computed beside the layer and not added to its weight.

PEFT's layer (0.21) copies the weight at each pass and adds the update to the copy. So in bf16 an update below the
weight's last bit is lost, 8-bit weights fail, and the gradient is a dense matrix. It also keeps every layer that was
ever called, and the weight inside it, in a cache of the process (`_warn_once_about_module_hooks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.shira.layer import Linear
from torch import Tensor, nn

from llmrec_adapters.forms.sparse_product import sparse_product

_ADAPTER = "default"


class SparseLinear(Linear):  # type: ignore[misc]  # PEFT has no types
    """y + S x with y the frozen layer's output and S rounded to the format of x."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the layer's output, [..., out]."""
        if self.disable_adapters or self.merged:
            bare: Tensor = super().forward(x, *args, **kwargs)
            return bare
        output: Tensor = self.base_layer(x, *args, **kwargs)
        for name in self.active_adapters:
            if name in self.shira_weight:
                values = self.shira_weight[name] * self.scaling[name]
                flat = x.reshape(1, -1, self.in_features)
                added = sparse_product(flat, values.unsqueeze(0), self._places(name).unsqueeze(0), self.out_features)
                output = output + added.view(output.shape).to(output.dtype)
        return output

    def _places(self, name: str) -> Tensor:
        """Return the places of the values, output · in + input, int64 [n], on their device."""
        device = self.shira_weight[name].device
        if self.shira_indices[name].device != device:  # those of a file are read on the CPU
            self.shira_indices[name] = self.shira_indices[name].to(device)
        rows, columns = self.shira_indices[name].long()
        places: Tensor = rows * self.in_features + columns
        return places


def with_sparse_layers(model: nn.Module) -> nn.Module:
    """Let PEFT's SHiRA layers, attached without a mask, compute as `SparseLinear` at places drawn anew.

    The places are drawn from torch's global generator, which training seeds by the recipe's seed, for each layer by
    itself. (PEFT draws the same ones for all layers of one size.) They are buffers, so that they count as memory.
    """
    for layer in (module for module in model.modules() if isinstance(module, Linear)):
        layer.__class__ = SparseLinear
        values = cast(Any, layer).shira_weight[_ADAPTER]
        indices = _drawn(layer.out_features, layer.in_features, len(values))
        layer.shira_indices = BufferDict({_ADAPTER: indices.to(values.device)}, persistent=False)
    return model


def indices_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the indices of each layer by name, int32 [2, n]."""
    return {name: layer.shira_indices[_ADAPTER] for name, layer in _layers(model)}


def set_indices(model: nn.Module, indices: Mapping[str, Tensor]) -> None:
    """Let the values of each layer stand at these indices."""
    for name, layer in _layers(model):
        layer.shira_indices[_ADAPTER] = indices[name].to(layer.shira_weight[_ADAPTER].device)


def _layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, SparseLinear))


def _drawn(outputs: int, inputs: int, count: int) -> Tensor:
    """Return `count` distinct places of a weight by row and column, in their order, int32 [2, count]."""
    seed = int(torch.randint(2**62, (), device="cpu"))
    places = np.sort(np.random.default_rng(seed).choice(outputs * inputs, count, replace=False, shuffle=False))
    return torch.from_numpy(np.stack(np.divmod(places, inputs)).astype(np.int32))
