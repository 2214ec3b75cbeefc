"""A bounded sample of a file's bytes: its beginning, and looks further in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from llmrec_peft.errors import InputError
from llmrec_peft.printable import shown
from llmrec_peft.tabular.form import Compression
from llmrec_peft.tabular.unpacked import DamagedFileError, compression_of, opened

HEAD = 1 << 21
"""Bytes of the beginning."""
_FURTHER = 1 << 25
"""Bytes that are read beyond the beginning of a packed file."""
_LOOK = 1 << 18
"""Bytes of one look further in."""
_LOOKS = 32
_BEYOND = re.compile(rb"[\x80-\xff]")
_OTHER_FILES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"SQLite format 3\0", "an SQLite database: export the table as CSV or Parquet"),
    (0, b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
    (0, b"\x89HDF", "an HDF5 file: export the table as Parquet"),
    (0, b"ARROW1", "an Arrow (Feather) file: write it as Parquet"),
    (0, b"\x80\x04\x95", "a Python pickle, which could run code: write the table as Parquet"),
    (0, b"\x80\x05\x95", "a Python pickle, which could run code: write the table as Parquet"),
    (0, b"Rar!", "a RAR archive: unpack it"),
    (0, b"7z\xbc\xaf", "a 7z archive: unpack it"),
    (257, b"ustar", "a tar archive: unpack it and name one of its files"),
)


@dataclass(frozen=True)
class Sample:
    """Some bytes of a file, unpacked.

    Attributes:
        compression: How the file is packed.
        head: Its first `HEAD` bytes at most.
        whole: Whether that is all of it.
        further: Looks further in, each some whole lines; empty where the file is short.
    """

    compression: Compression
    head: bytes
    whole: bool
    further: tuple[bytes, ...]


def sample_of(path: Path, compression: Compression | None = None) -> Sample:
    """Read a sample of a file.

    Args:
        path: The file.
        compression: How it is packed; by default as its first bytes say.

    Raises:
        InputError: If it cannot be read, is damaged within the sample, is empty, or is of a kind that is no table.
    """
    with opened(path, "none") as raw:
        start = raw.file.read(1 << 16)
    packed = compression_of(start) if compression is None else compression
    if packed == "zip" and b"[Content_Types].xml" in start:
        raise InputError(f"{shown(path)}: is an Excel workbook: save the sheet as CSV")
    looks: list[bytes] = []
    with opened(path, packed) as unpacked:
        parts, head = iter(unpacked), b""
        try:
            while len(head) < HEAD and (part := next(parts, b"")):
                head += part
            whole = len(head) < HEAD or not (part := next(parts, b""))
            if not whole and packed == "none":
                size = unpacked.size_of_file()
                for look in range(_LOOKS):
                    unpacked.file.seek(HEAD + (size - HEAD) * look // _LOOKS)
                    looks.append(unpacked.file.read(_LOOK))
            elif not whole:
                done = 0
                while part and done < _FURTHER:
                    looks.append(_around_letters(part))
                    done += len(part)
                    part = next(parts, b"")
        except DamagedFileError as error:
            if not head:
                raise InputError(f"{shown(path)}: {error}") from None
            whole = False  # the reading says after which line
    for at, magic, what in _OTHER_FILES:
        if head.startswith(magic, at):
            raise InputError(f"{shown(path)}: is {what}")
    if not head.strip(b"\xef\xbb\xbf\r\n \t"):
        raise InputError(f"{shown(path)}: the file is empty")
    return Sample(packed, head[:HEAD], whole and len(head) <= HEAD, tuple(filter(None, map(_whole_lines, looks))))


def _around_letters(part: bytes) -> bytes:
    """Return what stands around the first byte beyond ASCII; nothing where there is none."""
    found = None if part.isascii() else _BEYOND.search(part)
    return b"" if found is None else part[max(0, found.start() - _LOOK // 2) : found.start() + _LOOK // 2]


def _whole_lines(look: bytes) -> bytes:
    return look[look.find(b"\n") + 1 : look.rfind(b"\n") + 1]
