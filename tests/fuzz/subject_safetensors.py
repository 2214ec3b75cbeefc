"""Tensor files: headers and bytes of every kind; what is accepted is what the format's own library reads."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from fuzz.harness import Attempt
from llmrec_peft.backbone.tensor_files import read_tensors, read_texts
from llmrec_peft.regular_files import read_regular

TENSORS = {
    "encoder.lora_A.weight": torch.arange(24.0).reshape(4, 6),
    "encoder.lora_B.weight": torch.arange(12.0).reshape(6, 2).to(torch.bfloat16),
    "ids": torch.arange(7),
    "known": torch.tensor([True, False, True]),
    "scale": torch.tensor(3.5, dtype=torch.float16),
    "nothing": torch.zeros(0, 5),
}
FILE = save(TENSORS, metadata={"format": "pt", "names": json.dumps(["a", "ü", "\n"])})
DTYPES = ("F32", "F16", "BF16", "BOOL", "I64", "U8", "F8_E4M3", "F4", "C64", "", "f32", "F32 ", "F99", None, 4, ["F32"])
NUMBERS = (0, 1, 2, 3, 7, 24, 96, 2**31, 2**32 + 1, 2**62, 2**63, 2**64 - 1, 10**30, -1, 1.5, True, None, "4", [], {})


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Damage a small file's header or bytes, and read it."""
    while True:
        change = rng.choice(CHANGES)
        seed = rng.getrandbits(40)
        yield Attempt(f"{change.__name__} {seed}", _call(change, random.Random(seed), folder / "some.safetensors"))


def _call(change: Callable[[random.Random], bytes], rng: random.Random, path: Path) -> Callable[[], None]:
    def call() -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(change(rng))
        door = rng.randrange(4)
        if door == 0:
            read_texts(path)
        elif door == 1:
            read = read_tensors(path, TENSORS)
            assert {name: tensor.shape for name, tensor in read.items()} == {
                name: tensor.shape for name, tensor in TENSORS.items()
            }
        else:
            _as_the_library(read_tensors(path), read_regular(path, 1 << 30))

    return call


def _as_the_library(read: dict[str, torch.Tensor], data: bytes) -> None:
    """What is accepted has the same names, types, shapes and bytes as in safetensors' own reader."""
    theirs = load(data)
    assert read.keys() == theirs.keys(), "the library reads other tensors"
    for name, tensor in read.items():
        other = theirs[name]
        assert (tensor.dtype, tensor.shape) == (other.dtype, other.shape), f"the library reads {name} otherwise"
        if tensor.numel():
            bytes_of = [one.contiguous().reshape(-1).view(torch.uint8) for one in (tensor, other)]
            assert torch.equal(*bytes_of), f"the library reads other bytes of {name}"


def _parts() -> tuple[dict[str, Any], bytes]:
    length = struct.unpack("<Q", FILE[:8])[0]
    return json.loads(FILE[8 : 8 + length]), FILE[8 + length :]


def _file(header: Any, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _tensor(rng: random.Random, header: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = header[rng.choice(sorted(header.keys() - {"__metadata__"}))]
    return found


def truncated(rng: random.Random) -> bytes:
    return FILE[: rng.randrange(len(FILE) + 1)]


def flipped(rng: random.Random) -> bytes:
    data = bytearray(FILE)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def header_flipped(rng: random.Random) -> bytes:
    data = bytearray(FILE)
    length = struct.unpack("<Q", FILE[:8])[0]
    for _ in range(rng.choice((1, 1, 2, 3))):
        data[8 + rng.randrange(length)] = rng.choice(b'{}[],:"0123456789-.eE \\\x00\xffFIUBO_')
    return bytes(data)


def garbage(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 7, 8, 9, 64, 5000)))


def longer(rng: random.Random) -> bytes:
    return FILE + rng.randbytes(rng.choice((1, 4, 4096)))


def length_said(rng: random.Random) -> bytes:
    length = rng.choice((0, 1, 2, len(FILE) - 8, len(FILE), 2**20, 2**27, 2**32, 2**63, 2**64 - 1, rng.getrandbits(64)))
    return struct.pack("<Q", length) + FILE[8:]


def field(rng: random.Random) -> bytes:
    header, data = _parts()
    one = _tensor(rng, header)
    what = rng.choice(("dtype", "shape", "data_offsets", "gone", "more"))
    if what == "dtype":
        one["dtype"] = rng.choice(DTYPES)
    elif what == "gone":
        del one[rng.choice(sorted(one))]
    elif what == "more":
        one[rng.choice(("strides", "dtype ", "__class__"))] = 1
    else:
        one[what] = rng.choice(
            (
                rng.choice(NUMBERS),
                [rng.choice(NUMBERS) for _ in range(rng.randrange(5))],
                [*one[what], rng.choice(NUMBERS)],
                one[what][::-1],
                [0] * 40,
                [0, 2**40, 2**40],
                [2**21] * 3,
            )
        )
    return _file(header, data)


def offsets(rng: random.Random) -> bytes:
    """Two tensors share bytes, or lie apart, or beyond the file."""
    header, data = _parts()
    one, other = _tensor(rng, header), _tensor(rng, header)
    what = rng.randrange(4)
    if what == 0:
        one["data_offsets"] = list(other["data_offsets"])
    elif what == 1:
        one["data_offsets"] = [place + rng.choice((-8, -1, 1, 4, 1000)) for place in one["data_offsets"]]
    elif what == 2:
        one["data_offsets"], other["data_offsets"] = other["data_offsets"], one["data_offsets"]
    else:
        one.update({key: other[key] for key in ("dtype", "shape", "data_offsets")})
    return _file(header, data)


def names(rng: random.Random) -> bytes:
    header, data = _parts()
    name = rng.choice(sorted(header))
    new = rng.choice(("", "a" * 5000, "a\nb", "\x1b[31m", "\u202e", "ü", "__metadata__", "ids", "\ud800", "../../x"))
    text = json.dumps(header).replace(json.dumps(name) + ":", json.dumps(new) + ":")
    return _file(text.encode(), data)


def twice(rng: random.Random) -> bytes:
    header, data = _parts()
    name = rng.choice(sorted(header))
    text = json.dumps(header)[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}}}"
    return _file(text.encode(), data)


def metadata(rng: random.Random) -> bytes:
    header, data = _parts()
    header["__metadata__"] = rng.choice(
        (None, [], 1, "a", {}, {"a": 1}, {"a": None}, {"a": {}}, {"a": ["b"]}, {"": ""}, {"a" * 100: "b" * 100_000})
    )
    return _file(header, data)


def many(rng: random.Random) -> bytes:
    """Up to 100,000 tensors; most rarely, since it takes time to write them."""
    count = rng.choice((1000, 1000, 5000, 30_000, 40_000, 100_000) if rng.random() < 0.05 else (10, 100))
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return _file({str(at): empty for at in range(count)}, b"")


def no_object(rng: random.Random) -> bytes:
    deep = rng.choice((3, 31, 33, 900, 100_000))
    header = rng.choice(
        (
            b"[]",
            b"null",
            b"{}",
            b" {}",
            b"{} ",
            b"{}\x00",
            b"\xef\xbb\xbf{}",
            b'{"a":' * deep + b"1" + b"}" * deep,
            b'{"a":' + b"[" * deep + b"]" * deep + b"}",
            b'{"a":' + b"9" * 5000 + b"}",
            b'{"a": NaN}',
            b'{"a": 1e999}',
            '{"a": "\xff"}'.encode("latin-1"),
        )
    )
    return _file(header, rng.choice((b"", FILE[-40:])))


def huge(rng: random.Random) -> bytes:
    """A header as long as it says, and longer than is read."""
    if rng.random() < 0.97:
        return _file(b'{"__metadata__": {"a": "' + b"x" * rng.randrange(100_000) + b'"}}', b"")
    return _file(b'{"__metadata__": {"a": "' + b"x" * (5 << 20) + b'"}}', b"")


def sparse(rng: random.Random) -> bytes:
    """A tensor of terabytes in a file of a few bytes."""
    size = rng.choice((2**34, 2**40, 2**50))
    return _file({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}, os.urandom(8))


CHANGES = (
    truncated,
    flipped,
    header_flipped,
    header_flipped,
    garbage,
    longer,
    length_said,
    field,
    field,
    offsets,
    names,
    twice,
    metadata,
    many,
    no_object,
    huge,
    sparse,
)
