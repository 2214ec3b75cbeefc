"""Mapped files: hashed once as long as nobody touches them, and known by their place in memory."""

from __future__ import annotations

import gc
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llmrec_peft.artifact import mapped_files
from llmrec_peft.artifact.mapped_files import is_mapped, map_file


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    mapped_files.forget()
    yield
    mapped_files.forget()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what was hashed, where files count as settled at once."""
    sizes: list[int] = []

    class Counting:
        @staticmethod
        def sha256(content: bytes) -> object:
            sizes.append(len(content))
            return hashlib.sha256(content)

    monkeypatch.setattr(mapped_files, "hashlib", Counting)
    monkeypatch.setattr(mapped_files, "_SETTLED_NS", -1)
    return sizes


def test_a_file_is_hashed_once_and_again_after_it_was_written_into(tmp_path: Path, hashed: list[int]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 5000)
    digests = [map_file(path, 1 << 20).digest for _ in range(3)]
    assert digests == [hashlib.sha256(b"a" * 5000).hexdigest()] * 3
    assert hashed == [5000]
    times = path.stat()
    time.sleep(0.02)
    with path.open("r+b") as file:
        file.write(b"b")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # the owner sets back what he can
    assert map_file(path, 1 << 20).digest == hashlib.sha256(b"b" + b"a" * 4999).hexdigest()
    assert hashed == [5000, 5000]


def test_a_file_that_takes_the_place_of_another_is_hashed(tmp_path: Path, hashed: list[int]) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"a" * 100)
    other.write_bytes(b"c" * 100)
    map_file(path, 1 << 20)
    other.replace(path)
    assert map_file(path, 1 << 20).digest == hashlib.sha256(b"c" * 100).hexdigest()
    assert hashed == [100, 100]


def test_a_file_that_was_just_written_is_hashed_each_time(
    tmp_path: Path, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_files, "_SETTLED_NS", 2_000_000_000)
    path = tmp_path / "file"
    path.write_bytes(b"a" * 100)
    map_file(path, 1 << 20)
    map_file(path, 1 << 20)
    assert hashed == [100, 100]


def test_places_of_mapped_files_are_known_until_the_last_reader_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))
    array = np.frombuffer(map_file(path, 1 << 20).content, np.uint8)
    address = array.ctypes.data
    assert is_mapped(address)
    assert is_mapped(address + 99_999)
    assert not is_mapped(address + 100_000), "behind the file, in its last page"
    assert not is_mapped(np.zeros(10).ctypes.data)
    del array
    gc.collect()
    assert not is_mapped(address)


def test_a_place_that_the_system_gave_away_before_it_was_forgotten_belongs_to_its_new_file(tmp_path: Path) -> None:
    """A file's memory is given back before its finalizer runs, and another thread may have mapped a file there."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10_000)
    content = mapped_files.map_file(path, 1 << 20).content
    begin = np.frombuffer(content, np.uint8).ctypes.data
    former = (begin, -1, begin + 1)
    mapped_files._places.insert(0, former)
    mapped_files._places.sort()
    mapped_files._left.append(former)
    assert mapped_files.is_mapped(begin + 9_999)
    assert former not in mapped_files._places
