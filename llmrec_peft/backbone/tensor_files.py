"""Tensor files: safetensors with reproducible bytes, read with every name, shape and value checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors, each copied to memory of its own; the same tensors and metadata always give the same bytes.

    Args:
        path: File to write.
        tensors: Tensors by name.
        metadata: Texts for the file's header.
    """
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(plain, path, metadata=metadata)
    if metadata is not None:
        _put_in_order(path)


def _put_in_order(path: Path) -> None:
    """Sort the metadata in a file's header, which safetensors writes in random order."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:  # the same words in another order; the format allows spaces as padding
            file.seek(8)
            file.write(text.ljust(length))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors.

    Raises:
        InputError: If the file is missing or is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: no safetensors file ({str(error).splitlines()[0]})") from None


def read_texts(path: Path) -> dict[str, str]:
    """Return the texts in a file's header, as they were given to `write_tensors`.

    Raises:
        InputError: If the file is missing or is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: no safetensors file ({str(error).splitlines()[0]})") from None


def load_into(module: nn.Module, tensors: dict[str, Tensor], where: Path) -> None:
    """Copy tensors into a module's state.

    Raises:
        InputError: Naming the tensor that is missing, unknown, of another shape or dtype, or not finite.
    """
    own = module.state_dict()
    for name in sorted(own.keys() ^ tensors.keys()):
        raise InputError(f"{where}: tensor {name} is {'missing' if name in own else 'unknown'}")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise InputError(f"{where}: tensor {name} has shape {list(tensor.shape)}, not {list(own[name].shape)}")
        if tensor.dtype != own[name].dtype:
            raise InputError(f"{where}: tensor {name} holds {_spelled(tensor.dtype)}, not {_spelled(own[name].dtype)}")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(f"{where}: tensor {name} holds NaN or infinity")
    module.load_state_dict(tensors)


def _spelled(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
