"""Header of a safetensors file: bounded before it is parsed, and held against the file's size before data is read.

A file is eight bytes with the header's length, the header in JSON, and the tensors' bytes without gaps. The checks here
are ours and not the library's, since a file from outside is first asked what it would take to read it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted
from llmrec_peft.strict_json import parse_json

HEADER_LIMIT = 4 << 20
"""Bytes of a header; those of this project's files have less than one megabyte."""
TENSORS_LIMIT = 32_768
"""Tensors of a file."""
SIZES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}
"""Bytes of a number, by the format's name of its type."""
_DIMENSIONS = 16
_LARGEST = 1 << 60
"""Numbers of a tensor, sides of 0 left out."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file.

    Attributes:
        dtype: The format's name of its type, a key of `SIZES`.
        shape: Its shape.
        begin: Its first byte, counted from the end of the header.
        end: One past its last byte.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a file says before its data.

    Attributes:
        texts: The texts in its metadata.
        tensors: Its tensors by name, in the order of their bytes.
        start: Where data begins in the file.
    """

    texts: Mapping[str, str]
    tensors: Mapping[str, StoredTensor]
    start: int


def read_header(descriptor: int, size: int, where: str) -> Header:
    """Read and check the header of an open file; nothing behind it is read.

    Args:
        descriptor: The file, opened for reading, at its beginning.
        size: Its size in bytes.
        where: Its path, for messages.

    Raises:
        InputError: If the header is longer than `HEADER_LIMIT` or than the file, is no JSON, has more than
            `TENSORS_LIMIT` tensors or one of an unknown type, or if the tensors' bytes are not exactly the file's.
    """
    length = header_length(os.read(descriptor, 8), size, where)
    return parse_header(os.read(descriptor, length), size, where)


def header_length(first: bytes | bytearray, size: int, where: str) -> int:
    """Return the length of a header from a file's first eight bytes.

    Raises:
        InputError: If it is longer than `HEADER_LIMIT` or than the file.
    """
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > size - 8:  # noqa: PLR2004
        raise InputError(f"{where}: no safetensors file (of {size:,} bytes, its header would be {length:,})")
    if length > HEADER_LIMIT:
        raise InputError(f"{where}: a header of {length:,} bytes is more than the {HEADER_LIMIT:,} that are read")
    return length


def parse_header(text: bytes, size: int, where: str) -> Header:
    """Check a header.

    Args:
        text: The header.
        size: Size of the whole file in bytes.
        where: Its path, for messages.

    Raises:
        InputError: As `read_header`.
    """
    length = len(text)
    if not text.startswith(b"{"):
        raise InputError(f"{where}: no safetensors file (its header is no JSON object)")
    values = parse_json(text, f"{where}: no safetensors file: its header")
    texts = values.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(value, str) for value in texts.values()):
        raise InputError(f"{where}: __metadata__ in its header are no texts by name")
    if len(values) > TENSORS_LIMIT:
        raise InputError(f"{where}: {len(values):,} tensors are more than the {TENSORS_LIMIT:,} that a file can have")
    tensors = {name: _stored(value, f"{where}: tensor {quoted(name)}") for name, value in values.items()}
    return Header(texts, _in_order(tensors, size - 8 - length, where), 8 + length)


def _stored(value: Any, where: str) -> StoredTensor:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise InputError(f"{where} has other fields than dtype, shape and data_offsets")
    dtype, shape, place = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise InputError(f"{where} has the unknown dtype {quoted(dtype)}")
    if not _whole(shape) or len(shape) > _DIMENSIONS or math.prod(max(1, side) for side in shape) >= _LARGEST:
        raise InputError(f"{where} has no shape: {quoted(shape)}")
    if not _whole(place) or len(place) != 2 or place[0] > place[1]:  # noqa: PLR2004
        raise InputError(f"{where} has no place: data_offsets are {quoted(place)}")
    needed = math.prod(shape) * SIZES[dtype]
    if needed != place[1] - place[0]:
        raise InputError(f"{where} takes {quoted(needed)} bytes by its shape, but its place has {place[1] - place[0]}")
    return StoredTensor(dtype, tuple(shape), place[0], place[1])


def _whole(numbers: Any) -> bool:
    """Whether this is a list of whole numbers that a file can have: from 0, below 2⁶³."""
    return isinstance(numbers, list) and all(type(one) is int and 0 <= one < 1 << 63 for one in numbers)


def _in_order(tensors: dict[str, StoredTensor], data: int, where: str) -> dict[str, StoredTensor]:
    """Return the tensors in the order of their bytes, which must be all of the file's and each once."""
    ordered = dict(sorted(tensors.items(), key=lambda pair: (pair[1].begin, pair[1].end)))
    at = 0
    for name, tensor in ordered.items():
        if tensor.begin != at:
            what = "overlap those of another tensor" if tensor.begin < at else "leave a gap before them"
            raise InputError(f"{where}: the bytes of tensor {quoted(name)} {what}")
        at = tensor.end
    if at != data:
        raise InputError(f"{where}: its tensors have {at:,} bytes, but {data:,} lie behind the header")
    return ordered
