"""Tensors in memory: the contents of a safetensors file, taken apart with bounds and without a copy."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.backbone.tensor_files import DTYPES
from llmrec_peft.backbone.tensor_header import SIZES, StoredTensor, header_length, parse_header
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

if TYPE_CHECKING:
    from torch import Tensor

_NUMBER = 8
"""Bytes of the number in front of a header: its length."""


def tensors_in(content: bytes | bytearray | mmap.mmap, where: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Take a safetensors file apart.

    Args:
        content: The file's bytes, in memory or mapped; the tensors share their memory, unless it is read-only.
        where: Its path, for messages.

    Returns:
        Tensors by name, and the texts of the header.

    Raises:
        InputError: If it is no safetensors file, as `llmrec_peft.backbone.tensor_header.read_header`, or a tensor has
            more rows than the file has bytes: even an empty tensor's sizes are those in which tables are built.
    """
    if isinstance(content, bytes):
        content = bytearray(content)  # torch warns of memory that it could not write into
    size = len(content)
    length = header_length(content[:_NUMBER], size, str(where))
    header = parse_header(bytes(content[_NUMBER : _NUMBER + length]), size, str(where))
    tensors = {}
    for name, stored in header.tensors.items():
        if max(stored.shape, default=0) > size:
            raise InputError(f"{where}: tensor {quoted(name)} has no shape: {quoted(list(stored.shape))}")
        begin = header.start + stored.begin
        tensors[name] = _tensor(content, begin, stored)
        if stored.dtype == "BOOL" and max(content[begin : begin + stored.end - stored.begin], default=0) > 1:
            raise InputError(f"{where}: tensor {quoted(name)} is said to be BOOL and holds something else")
    return tensors, dict(header.texts)


def _tensor(content: bytes | bytearray | mmap.mmap, begin: int, stored: StoredTensor) -> Tensor:
    import torch

    dtype = getattr(torch, DTYPES[stored.dtype])
    if stored.begin == stored.end:
        return torch.empty(stored.shape, dtype=dtype)
    if begin % SIZES[stored.dtype]:  # no writer leaves numbers unaligned, but the format allows it
        content, begin = content[begin : begin + stored.end - stored.begin], 0
    count = (stored.end - stored.begin) // SIZES[stored.dtype]
    return torch.frombuffer(content, dtype=dtype, count=count, offset=begin).reshape(stored.shape)
