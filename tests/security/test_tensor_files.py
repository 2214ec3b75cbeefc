"""Tensor files from outside: what they would take is known before it is taken, and what was read cannot be changed."""

from __future__ import annotations

import json
import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from llmrec_peft.backbone.tensor_files import load_into, read_tensors, read_texts
from llmrec_peft.backbone.tensor_header import HEADER_LIMIT, SIZES, TENSORS_LIMIT
from llmrec_peft.errors import InputError

ONE = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def _file(header: Any, data: bytes = bytes(24), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "no safetensors file"),
    "seven bytes": (lambda: bytes(7), "no safetensors file"),
    "no header": (lambda: bytes(8), "its header is no JSON object"),
    "a length beyond the file": (lambda: _file({"a": ONE}, length=1000), "its header would be 1,000"),
    "a length of 64 bits": (lambda: b"\xff" * 200, "no safetensors file"),
    "a long header": (lambda: _file(b"{" + b" " * HEADER_LIMIT + b"}"), "is more than the 4,194,304 that are read"),
    "a pickle": (lambda: b"\x80\x04}q\x00.", "no safetensors file"),
    "a list": (lambda: _file(b"[]"), "its header is no JSON object"),
    "half a header": (lambda: _file(b'{"a": {"dtype"'), "its header: no JSON"),
    "Latin-1": (lambda: _file('{"ä": 1}'.encode("latin-1")), "its header: no JSON"),
    "nested": (lambda: _file(b'{"a":' * 50_000), "nested deeper"),
    "a name twice": (lambda: _file(f'{{"a": {json.dumps(ONE)}, "a": {json.dumps(ONE)}}}'.encode()), "'a' stands twice"),
    "half a character": (lambda: _file(b'{"\\ud800": ' + json.dumps(ONE).encode() + b"}"), "no JSON"),
    "100,000 tensors": (
        lambda: _file({str(at): {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for at in range(60_000)}, b""),
        "60,000 tensors are more than the 32,768|bytes is more than",
    ),
    "metadata of numbers": (lambda: _file({"__metadata__": {"a": 1}, "b": ONE}), "are no texts by name"),
    "metadata of lists": (lambda: _file({"__metadata__": ["a"], "b": ONE}), "are no texts by name"),
    "a tensor that is a number": (lambda: _file({"a": 1}), "tensor 'a' has other fields than"),
    "a field too many": (lambda: _file({"a": {**ONE, "strides": [1]}}), "tensor 'a' has other fields than"),
    "an unknown dtype": (lambda: _file({"a": {**ONE, "dtype": "F7"}}), "unknown dtype 'F7'"),
    "a dtype that is none": (lambda: _file({"a": {**ONE, "dtype": ["F32"]}}), "unknown dtype"),
    "a negative shape": (lambda: _file({"a": {**ONE, "shape": [-2, -3]}}), "has no shape"),
    "a shape of truths": (lambda: _file({"a": {**ONE, "shape": [True, 6]}}), "has no shape"),
    "a shape that overflows": (lambda: _file({"a": {**ONE, "shape": [2**33, 2**33]}}), "has no shape"),
    "an empty shape that overflows": (
        lambda: _file({"a": {"dtype": "F32", "shape": [0, 2**40, 2**40], "data_offsets": [0, 0]}}, b""),
        "has no shape",
    ),
    "a thousand dimensions": (lambda: _file({"a": {**ONE, "shape": [1] * 1000}}), "has no shape"),
    "a shape of another size": (lambda: _file({"a": {**ONE, "shape": [2, 4]}}), "takes 32 bytes by its shape"),
    "a place that ends first": (lambda: _file({"a": {**ONE, "data_offsets": [24, 0]}}), "has no place"),
    "a place below zero": (lambda: _file({"a": {**ONE, "data_offsets": [-24, 0]}}), "has no place"),
    "a place beyond the file": (lambda: _file({"a": {**ONE, "data_offsets": [24, 48]}}), "leave a gap"),
    "too little data": (lambda: _file({"a": ONE}, bytes(23)), "24 bytes, but 23 lie behind"),
    "data without a tensor": (lambda: _file({"a": ONE}, bytes(25)), "24 bytes, but 25 lie behind"),
    "two tensors on the same bytes": (lambda: _file({"a": ONE, "b": ONE}), "overlap those of another"),
    "two tensors that overlap": (
        lambda: _file({"a": ONE, "b": {**ONE, "data_offsets": [20, 44]}}, bytes(44)),
        "overlap those of another",
    ),
    "terabytes in a few bytes": (
        lambda: _file({"a": {"dtype": "U8", "shape": [1 << 42], "data_offsets": [0, 1 << 42]}}),
        "bytes, but 24 lie behind",
    ),
    "a truth that is seven": (
        lambda: _file({"a": {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]}}, b"\x01\x07"),
        "said to be BOOL",
    ),
    "a name of two lines": (lambda: _file({"a\nb\x1b[31m": {**ONE, "shape": 7}}), r"tensor 'a\\nb\\x1b\[31m'"),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_file_is_refused_in_one_line_and_takes_little_memory(kind: str, tmp_path: Path) -> None:
    make, words = HOSTILE[kind]
    path = tmp_path / "some.safetensors"
    path.write_bytes(make())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=words) as refused:
        read_tensors(path)
    line = str(refused.value)
    assert line.isprintable() and len(line) < 500 and str(path) in line
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024


def test_every_type_of_number_is_read_as_the_library_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    kinds = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16]
    kinds += [torch.float32, torch.float64, torch.uint16, torch.uint32, torch.uint64]
    kinds += [torch.float8_e4m3fn, torch.float8_e5m2]
    tensors = {str(kind): torch.tensor([[0.0, 1.0, 1.0]]).to(kind) for kind in kinds}
    tensors |= {"alone": torch.tensor(3.5), "nothing": torch.zeros(0, 4), "wide": torch.zeros(4, 0, 2)}
    save_file(tensors, path, metadata={"a": "b\nü"})
    read = read_tensors(path)
    assert read.keys() == tensors.keys() and len(kinds) == len(SIZES)
    for name, tensor in tensors.items():
        assert (read[name].dtype, read[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(
            read[name].double() if read[name].is_floating_point() else read[name].long(),
            tensor.double() if tensor.is_floating_point() else tensor.long(),
        )
    assert read_texts(path) == {"a": "b\nü"}


def test_many_tensors_within_the_bound_are_read(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    path.write_bytes(save({str(at): torch.zeros(0) for at in range(20_000)}))
    assert len(read_tensors(path)) == 20_000 < TENSORS_LIMIT


def test_file_that_is_overwritten_or_cut_after_reading_changes_nothing(tmp_path: Path) -> None:
    """A mapped file would give other numbers, and one that is cut stops the process (SIGBUS)."""
    path = tmp_path / "some.safetensors"
    save_file({"vectors": torch.ones(50_000, 8)}, path)
    read = read_tensors(path)["vectors"]
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(bytes(size))
    assert float(read.sum()) == 400_000.0
    os.truncate(path, 0)
    assert float(read.sum()) == 400_000.0


def test_names_and_shapes_are_compared_before_data_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "some.safetensors"
    save_file({"weight": torch.zeros(1000, 1000)}, path)

    def unread(*_: Any) -> int:
        raise AssertionError("data was read")

    monkeypatch.setattr(os, "readv", unread)
    with pytest.raises(InputError, match=r"tensor weight has shape \[1000, 1000\], not \[2, 2\]"):
        read_tensors(path, {"weight": torch.zeros(2, 2)})
    with pytest.raises(InputError, match=r"tensor bias is missing"):
        read_tensors(path, {"bias": torch.zeros(2)})


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.ones(2, 2, dtype=torch.bool), r"weight holds bool, not float32"),
        (torch.full((2, 2), float("nan")), "weight holds NaN or infinity"),
        (torch.ones(2, 3), r"weight has shape \[2, 3\], not \[2, 2\]"),
    ],
)
def test_tensor_of_another_kind_is_not_loaded_into_a_module(tensor: torch.Tensor, words: str, tmp_path: Path) -> None:
    """A head that is cast to bool answers 1 for everything, with exit code 0."""
    module = torch.nn.Linear(2, 2, bias=False)
    before = module.weight.clone()
    with pytest.raises(InputError, match=words):
        load_into(module, {"weight": tensor}, tmp_path)
    assert torch.equal(module.weight, before)
