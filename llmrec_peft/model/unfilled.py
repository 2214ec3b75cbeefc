"""Unfilled: parameters that are built to be replaced are not filled with random numbers first."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

_RANDOM = frozenset(
    (
        torch.Tensor.normal_,
        torch.Tensor.uniform_,
        *(getattr(init, f"{name}_") for name in ("normal", "uniform")),
        *(getattr(init, f"{name}_{kind}_") for name in ("kaiming", "xavier") for kind in ("normal", "uniform")),
    )
)
"""Torch's random initializations, and what others of them end in."""


class Unfilled(TorchFunctionMode):
    """Leaves random initializations out inside the block, in this thread alone; memory is reserved and not touched.

    For a large table this is most of the time that a trained signal takes to be built for loading.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _RANDOM:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))
