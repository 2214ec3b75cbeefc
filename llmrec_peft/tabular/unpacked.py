"""The bytes of a table file, unpacked as they are read: no file unpacks without bound."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.progress import SILENT, Bar, Progress
from llmrec_peft.regular_files import open_regular
from llmrec_peft.tabular.form import Compression

LARGEST_FILE = 1 << 42
"""Bytes of a file; a sparse file can say more than any disk has."""
LARGEST_RATIO = 200
"""Largest size of an unpacked file in sizes of the packed one; tables of ratings pack to a fortieth at best."""
ALWAYS_UNPACKED = 1 << 26
"""Bytes that are unpacked whatever the ratio: a small file of like lines packs better than that."""
BLOCK = 1 << 20
"""Bytes that are unpacked at once."""
_SHOWN = 1 << 24
"""Bytes of a file from which progress is shown."""
_WINDOW = 1 << 28
"""Memory that unpacking xz may take."""
_MAGIC: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
)
# zipfile raises NotImplementedError for a compression that it has not, such as Deflate64 of Windows for large files.
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException, NotImplementedError)


class DamagedFileError(Exception):
    """The packed file is cut off or damaged, or unpacks to more than a table does."""


def compression_of(head: bytes) -> Compression:
    """Return how a file is packed that begins with some bytes.

    >>> compression_of(b"PK\\x03\\x04"), compression_of(b"user,item")
    ('zip', 'none')
    """
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "none")


@contextmanager
def opened(path: Path, compression: Compression, progress: Progress = SILENT) -> Iterator[Unpacked]:
    """Open a regular file, or a link to one, for reading its unpacked bytes.

    Args:
        path: The file.
        compression: How it is packed.
        progress: Where it is shown how much of a large file was read.

    Raises:
        InputError: If it is no regular file or cannot be opened.
    """
    with open_regular(path, LARGEST_FILE, follow_links=True) as (descriptor, found):
        try:
            with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
                parts = _PARTS[compression](cast(BinaryIO, file))
                most = None if compression == "none" else max(ALWAYS_UNPACKED, LARGEST_RATIO * found.st_size)
                shown_size = found.st_size >> 20 if found.st_size > _SHOWN else 0
                if not shown_size:
                    yield Unpacked(parts, file, most)
                    return
                with progress.bar(f"reading {path.name} (MiB)", shown_size) as bar:
                    yield Unpacked(parts, file, most, bar)
        except OSError as error:
            raise InputError(f"{path}: unreadable ({reason_of(error)})") from None


class Unpacked:
    """The bytes of a file, in parts of about `BLOCK` bytes.

    Attributes:
        file: The packed file.
        size: How many bytes were unpacked so far.
    """

    def __init__(self, parts: Iterator[bytes], file: Any, most: int | None, bar: Bar | None = None) -> None:
        self.file = file
        self._bar = bar
        self._done = 0
        self._parts = parts
        self._most = most
        self.size = 0

    def size_of_file(self) -> int:
        """Return how many bytes the packed file has."""
        return os.fstat(self.file.fileno()).st_size

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes.

        Raises:
            DamagedFileError: If the file is cut off, damaged, or unpacks to more than `LARGEST_RATIO` times its size.
        """
        while True:
            try:
                part = next(self._parts, b"")
            except (*_DAMAGED, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise DamagedFileError(f"the packed file is damaged or cut off ({reason_of(error)})") from None
            if not part:
                return
            self.size += len(part)
            if self._most is not None and self.size > self._most:
                raise DamagedFileError(f"it unpacks to more than {LARGEST_RATIO} times its size: no table")
            yield part
            if self._bar is not None:
                done = int(self.file.tell()) >> 20
                self._bar.advance(done - self._done)
                self._done = done


def _plain(file: BinaryIO) -> Iterator[bytes]:
    while part := file.read(BLOCK):
        yield part


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    unpacker, pending = zlib.decompressobj(wbits=31), b""
    while True:
        pending = pending or file.read(BLOCK)
        if not pending:
            break
        if unpacker.eof:
            if not pending.strip(b"\0"):  # padding of tapes and of some copying programs
                pending = b""
                continue
            unpacker = zlib.decompressobj(wbits=31)
        part = unpacker.decompress(pending, BLOCK)
        pending = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
        if part:
            yield part
    if not unpacker.eof:
        raise EOFError("it ends in the middle")


def _streams(file: BinaryIO, make: Callable[[], Any]) -> Iterator[bytes]:
    """Yield the bytes of the bz2 or xz streams that a file is made of."""
    unpacker, pending = make(), b""
    while True:
        if unpacker.eof:
            pending = unpacker.unused_data or file.read(BLOCK)
            if not pending.strip(b"\0"):
                return
            unpacker = make()
        elif unpacker.needs_input:
            pending = file.read(BLOCK)
            if not pending:
                raise EOFError("it ends in the middle")
        part = unpacker.decompress(pending, BLOCK)
        pending = b""
        if part:
            yield part


def _bz2(file: BinaryIO) -> Iterator[bytes]:
    return _streams(file, bz2.BZ2Decompressor)


def _xz(file: BinaryIO) -> Iterator[bytes]:
    return _streams(file, lambda: lzma.LZMADecompressor(memlimit=_WINDOW))


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    with pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd") as stream:
        while part := stream.read(BLOCK):
            yield part


def _zip(file: BinaryIO) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BufferedReader(cast(Any, file))) as archive:
        members = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
        if len(members) != 1:
            raise zipfile.BadZipFile(f"an archive with one file is read, and this one has {len(members)}: unpack it")
        if members[0].flag_bits & 1:
            raise zipfile.BadZipFile("its file is encrypted")
        with archive.open(members[0]) as member:
            while part := member.read(BLOCK):
                yield part


_PARTS: dict[Compression, Callable[[BinaryIO], Iterator[bytes]]] = {
    "none": _plain,
    "gzip": _gzip,
    "bz2": _bz2,
    "xz": _xz,
    "zstd": _zstd,
    "zip": _zip,
}
