"""Tensors of a run folder: safetensors in, every name, shape and value checked on the way out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors, each in memory of its own."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors.

    Raises:
        InputError: When the file is missing or no safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: no safetensors file ({str(error).splitlines()[0]})") from None


def load_into(module: nn.Module, tensors: dict[str, Tensor], where: Path) -> None:
    """Copy tensors into a module's state.

    Raises:
        InputError: Naming the tensor that is missing, unknown, of another shape, or not finite.
    """
    own = module.state_dict()
    for name in sorted(own.keys() ^ tensors.keys()):
        raise InputError(f"{where}: tensor {name} is {'missing' if name in own else 'unknown'}")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise InputError(f"{where}: tensor {name} has shape {list(tensor.shape)}, not {list(own[name].shape)}")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(f"{where}: tensor {name} holds NaN or infinity")
    module.load_state_dict(tensors)
