"""AdapterModules: what is found of an adapter by one walk over its transformer, and asked for many times an epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn


class AdapterModules:
    """The modules and tensors of an adapter inside a frozen model."""

    def __init__(self, whole: nn.Module, frozen: Sequence[nn.Module]) -> None:
        """Walk, and put the frozen model into evaluation mode.

        Args:
            whole: Model with its adapter, all of which are attached.
            frozen: Modules of the bare model.
        """
        bare = set(frozen)
        self._recomputing = [module for module in frozen if hasattr(module, "gradient_checkpointing")]
        for module in bare.difference(self._recomputing):
            module.training = False
        self._own = [module for module in whole.modules() if module is not whole and module not in bare]
        self._trained = [(name, one) for name, one in whole.named_parameters() if one.requires_grad]
        held = [one for module in self._own for one in (*module.parameters(False), *module.buffers(False))]
        self._tensors: list[Tensor] = list(dict.fromkeys([*(one for _, one in self._trained), *held]))

    def train(self, mode: bool) -> None:
        """Put the adapter into training mode, never the frozen model."""
        for module in self._own:
            module.training = mode
        for module in self._recomputing:
            # a layer recomputes its activations only in training mode; dropout is in modules of its own
            module.training = mode and bool(module.gradient_checkpointing)

    @property
    def recompute(self) -> bool:
        """Whether layers recompute their activations."""
        return any(module.gradient_checkpointing for module in self._recomputing)

    @property
    def trained(self) -> list[tuple[str, nn.Parameter]]:
        """The parameters that are trained, by name."""
        return [(name, one) for name, one in self._trained if one.requires_grad]

    def digest(self) -> bytes:
        """Return what tells the adapter's present values from others; empty if nothing is trained."""
        if not self.trained:
            return b""
        digest = hashlib.blake2b(digest_size=32)
        for tensor in self._tensors:
            digest.update(tensor.detach().reshape(-1).cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.digest()
