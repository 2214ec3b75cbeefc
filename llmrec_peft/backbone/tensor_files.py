"""Tensor files: safetensors with reproducible bytes, read with every name, shape and value checked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.backbone.tensor_header import Header, StoredTensor, read_header
from llmrec_peft.errors import InputError
from llmrec_peft.known_contents import is_known
from llmrec_peft.printable import quoted
from llmrec_peft.regular_files import open_regular

if TYPE_CHECKING:
    from torch import Tensor, nn

_LARGEST = 1 << 38
"""Bytes of a file: item vectors of a large catalogue are the largest."""
_PART = 1 << 26
"""Bytes that are asked for at once."""
DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
}
"""torch's names of the format's types."""


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


def read_tensors(path: Path, own: Mapping[str, Tensor] | None = None, what: str = "tensor") -> dict[str, Tensor]:
    """Read tensors into memory of their own; a file that is changed or cut afterwards changes nothing.

    Args:
        path: File to read.
        own: If given, tensors that the file must have: its names and shapes are compared before any data is read, so
            that a file takes no more memory than these tensors.
        what: How a message calls a tensor.

    Raises:
        InputError: If the file is missing, no regular file or no safetensors file; or naming the tensor that is
            missing, unknown or of another shape.
    """
    with open_regular(path, _LARGEST) as (descriptor, found):
        header = read_header(descriptor, found.st_size, str(path))
        if own is not None:
            require_tensors(path, own, header.tensors, what)
        return {
            name: _read(descriptor, stored, f"{path}: {what} {quoted(name)}") for name, stored in header.tensors.items()
        }


def read_stored(path: Path) -> Header:
    """Read what a file says of its tensors, and the texts in its header, but no data.

    Raises:
        InputError: If the file is missing, no regular file or no safetensors file.
    """
    with open_regular(path, _LARGEST) as (descriptor, found):
        return read_header(descriptor, found.st_size, str(path))


def read_texts(path: Path) -> dict[str, str]:
    """Return the texts in a file's header, as they were given to `write_tensors`.

    Raises:
        InputError: If the file is missing, no regular file or no safetensors file.
    """
    return dict(read_stored(path).texts)


def require_tensors(
    where: Path, own: Mapping[str, Tensor], read: Mapping[str, Tensor | StoredTensor], what: str = "adapter tensor"
) -> None:
    """Refuse tensors whose names and shapes are not exactly those of one's own.

    Args:
        where: What they were read from, for the message.
        own: Tensors that there must be, by name.
        read: Tensors that there are, read or not yet.
        what: How the message calls a tensor.

    Raises:
        InputError: Naming the one that is missing, unknown or of another shape.
    """
    for name in sorted(own.keys() ^ read.keys()):
        raise InputError(f"{where}: {what} {_plain(name)} is {'missing' if name in own else 'unknown'}")
    for name, tensor in read.items():
        if tuple(tensor.shape) != tuple(own[name].shape):
            raise InputError(
                f"{where}: {what} {name} has shape {quoted(list(tensor.shape))}, not {list(own[name].shape)}"
            )


def require_numbers(where: Path, own: Mapping[str, Tensor], read: Mapping[str, Tensor], what: str = "tensor") -> None:
    """Refuse tensors of another kind of number than one's own, and NaN and infinity.

    Whole numbers may stand for floating ones, since a table of them is written as it was made.

    Raises:
        InputError: Naming the tensor.
    """
    for name, tensor in read.items():
        if _kind(tensor) != _kind(own[name]) and (_kind(tensor), _kind(own[name])) != ("whole", "floating"):
            raise InputError(f"{where}: {what} {name} holds {tensor.dtype}, not {own[name].dtype}")
        if not is_known() and not is_finite(tensor):
            raise InputError(f"{where}: {what} {name} holds NaN or infinity")


def is_finite(tensor: Tensor) -> bool:
    """Return whether a tensor holds no NaN and no infinity.

    A sum is not finite where a number is not; only where the sum is not, each number is looked at.
    """
    if not tensor.is_floating_point() or bool(tensor.sum().isfinite()):
        return True
    return bool(tensor.isfinite().all())


def _kind(tensor: Tensor) -> str:
    import torch

    return "floating" if tensor.is_floating_point() else "truth" if tensor.dtype == torch.bool else "whole"


def _read(descriptor: int, stored: StoredTensor, where: str) -> Tensor:
    """Read the next tensor's bytes; the header's tensors are in the order of their bytes."""
    import torch

    try:
        data = torch.empty(stored.end - stored.begin, dtype=torch.uint8)
    except RuntimeError:
        raise InputError(f"{where} does not fit into memory ({stored.end - stored.begin:,} bytes)") from None
    room, at = data.numpy().data, 0
    while at < len(room):
        part = os.readv(descriptor, [room[at : at + _PART]])
        if part == 0:
            raise InputError(f"{where} ends early: the file was cut while it was read")
        at += part
    if stored.dtype == "BOOL" and bool((data > 1).any()):
        raise InputError(f"{where} is said to be BOOL and holds something else")
    return data.view(getattr(torch, DTYPES[stored.dtype])).reshape(stored.shape)


def _plain(name: str) -> str:
    """Return a name from outside as it may be printed."""
    return name if name.isprintable() and len(name) <= 200 else quoted(name)  # noqa: PLR2004


def load_into(module: nn.Module, tensors: dict[str, Tensor], where: Path) -> None:
    """Make tensors a module's state; their memory becomes the module's, nothing is copied.

    Raises:
        InputError: Naming the tensor that is missing, unknown, of another shape or dtype, or not finite.
    """
    own = module.state_dict()
    require_tensors(where, own, tensors, "tensor")
    for name, tensor in tensors.items():
        if tensor.dtype != own[name].dtype:
            found, right = (str(dtype).removeprefix("torch.") for dtype in (tensor.dtype, own[name].dtype))
            raise InputError(f"{where}: tensor {name} holds {found}, not {right}")
    require_numbers(where, own, tensors)
    module.load_state_dict(tensors, assign=True)
