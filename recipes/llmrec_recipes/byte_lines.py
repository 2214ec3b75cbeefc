"""Lines of a file as bytes, packed or not, and the encoding that they are in: nothing runs away, nothing is guessed."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from llmrec_peft.plugins import InputError

LONGEST_LINE = 1 << 24
"""Largest size of a line in bytes: a few bytes of gzip can stand for gigabytes without a line end."""
LARGEST_RATIO = 100
"""Largest size of an unpacked file in sizes of the packed one; text of people packs to a third or a tenth."""
ALWAYS_UNPACKED = 1 << 21
"""Bytes that are unpacked whatever the ratio: a small file of like lines packs better than that."""


def byte_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line with its end); a file named ``*.gz`` is unpacked as it is read.

    A byte order mark of UTF-8 is dropped.

    Raises:
        InputError: Naming the line that is too long or holds a NUL byte, or after which the file is damaged or unpacks
            to more than text does.
    """
    number = unpacked = 0
    try:
        most = max(ALWAYS_UNPACKED, LARGEST_RATIO * path.stat().st_size)
        # decoded line by line: a text file decodes blocks, and the line is lost
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise InputError(f"{path}, line {number}: longer than {LONGEST_LINE} bytes")
                unpacked += len(line)
                if unpacked > most and path.suffix == ".gz":
                    raise InputError(
                        f"{path}: unpacks to more than {LARGEST_RATIO} times its size (after line {number}): no text"
                    )
                if b"\0" in line:
                    raise InputError(
                        f"{path}, line {number}: a NUL byte, as UTF-16 has them: convert the file to UTF-8"
                    )
                yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"{path}: damaged or no gzip file (after line {number})") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def encoding_of(path: Path, owners: str) -> str:
    """Return the encoding of a file whose owner writes it in an older one than UTF-8, which some people convert it to.

    Args:
        path: File.
        owners: The owner's encoding, in which UTF-8 would read as other letters without an error.

    Returns:
        ``utf-8`` where lines hold more than ASCII and all such lines are UTF-8, else the owner's.

    Raises:
        InputError: When some lines are in UTF-8 and others are not.
    """
    in_utf8, in_other = 0, 0
    for number, line in byte_lines(path):
        if line.isascii():
            continue
        try:
            line.decode()
            in_utf8 = in_utf8 or number
        except UnicodeDecodeError:
            in_other = in_other or number
        if in_utf8 and in_other:
            raise InputError(f"{path}: line {in_utf8} is UTF-8 and line {in_other} is not: convert the file to UTF-8")
    return "utf-8" if in_utf8 else owners


def decoded(line: bytes, encoding: str) -> str:
    """Decode a line.

    Raises:
        ValueError: With the reason, also for control characters that latin-1 makes of another encoding's letters.
    """
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(error.reason) from None
    if encoding == "latin-1" and any("\x80" <= character <= "\x9f" for character in text):
        raise ValueError("it holds control characters, as Windows' encodings give: convert the file to UTF-8")
    return text
