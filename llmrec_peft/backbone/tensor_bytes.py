"""Tensors in memory: the contents of a safetensors file, taken apart with bounds and without a copy."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

HEADER_BYTES = 8 << 20
"""Bytes of a header; one of 10,000 tensors takes about 1 MiB."""
MOST_TENSORS = 20_000
MOST_DIMENSIONS = 8
LONGEST_NAME = 200
_NUMBER = 8
"""Bytes of the number in front of a header: its length."""
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def tensors_in(content: bytearray, where: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Take a safetensors file apart.

    Args:
        content: The file's bytes; the tensors share their memory.
        where: Its path, for messages.

    Returns:
        Tensors by name, and the texts of the header.

    Raises:
        InputError: If it is no safetensors file, its header is out of bounds, or tensors do not fill it exactly.
    """
    header, start = _header(content, where)
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(value, str) for value in texts.values()):
        raise _broken(where, "its metadata are no texts")
    if len(header) > MOST_TENSORS:
        raise _broken(where, f"{len(header):,} tensors, more than {MOST_TENSORS:,}")
    if not all(name.isprintable() and len(name) <= LONGEST_NAME for name in header):
        raise _broken(where, f"the name of a tensor is no text of up to {LONGEST_NAME} characters")
    entries = [(name, *_entry(name, entry, len(content), where)) for name, entry in header.items()]
    at, tensors = 0, {}
    for name, dtype, shape, begin, end in sorted(entries, key=lambda entry: entry[3:]):
        if begin != at:
            raise _broken(where, f"tensor {name[:60]!r} begins at byte {begin}, not {at}")
        at = end
        if start + end > len(content):
            raise _broken(where, f"tensor {name[:60]!r} ends after the file")
        tensors[name] = _tensor(content, start + begin, dtype, shape, where)
    if start + at != len(content):
        raise _broken(where, f"{len(content) - start - at} bytes belong to no tensor")
    return {name: tensors[name] for name in header}, texts


def _header(content: bytearray, where: Path) -> tuple[dict[str, Any], int]:
    """Return a file's header, and where its data start."""
    length = int.from_bytes(content[:_NUMBER], "little")
    if len(content) < _NUMBER or length > min(HEADER_BYTES, len(content) - _NUMBER):
        raise _broken(where, "its header is longer than the file, or than a header can be")
    try:
        header = json.loads(bytes(content[_NUMBER : _NUMBER + length]), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _broken(where, "its header is unreadable") from None
    if not isinstance(header, dict):
        raise _broken(where, "its header is no object")
    return header, _NUMBER + length


def _entry(name: str, entry: Any, size: int, where: Path) -> tuple[torch.dtype, list[int], int, int]:
    """Return what the header says of a tensor: dtype, shape, and its first and last byte.

    No dimension is larger than the file has bytes, not even of an empty tensor: tables are built in these sizes.
    """
    import torch

    try:
        dtype: torch.dtype = getattr(torch, _DTYPES[entry["dtype"]])
        shape, (begin, end) = entry["shape"], entry["data_offsets"]
        if any(type(number) is not int or number < 0 for number in (*shape, begin, end)):
            raise TypeError
        if (
            max(shape, default=0) > size
            or len(shape) > MOST_DIMENSIONS
            or end - begin != math.prod(shape) * dtype.itemsize
        ):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _broken(where, f"dtype, shape and bytes of tensor {name[:60]!r} do not fit each other") from None
    return dtype, shape, begin, end


def _tensor(content: bytearray, begin: int, dtype: torch.dtype, shape: list[int], where: Path) -> Tensor:
    import torch

    count = math.prod(shape)
    if count == 0:
        try:
            return torch.empty(shape, dtype=dtype)
        except RuntimeError:  # [0, 2**62, 2**62]
            raise _broken(where, f"no tensor has shape {shape}") from None
    if begin % dtype.itemsize:  # no writer leaves numbers unaligned, but the format allows it
        content, begin = content[begin : begin + count * dtype.itemsize], 0
    return torch.frombuffer(content, dtype=dtype, count=count, offset=begin).reshape(shape)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _broken(where: Path, reason: str) -> InputError:
    return InputError(f"{where}: no safetensors file ({reason})")
