"""Regular files of a bounded size: how a file that may come from a stranger is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmrec_peft.errors import InputError

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""No link is followed, and opening a FIFO without a writer does not wait."""
_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_regular(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        InputError: If it is missing, unreadable, larger, or a link, folder, FIFO or device; nothing was read then.
    """
    with open_regular(path, limit) as (descriptor, found):
        parts, left = [], found.st_size + 1  # a file that grows meanwhile is not followed
        try:
            while left > 0 and (part := os.read(descriptor, min(left, 1 << 24))):
                parts.append(part)
                left -= len(part)
        except OSError as error:
            raise InputError(f"{path}: unreadable ({error.strerror or error})") from None
    if left == 0:
        raise InputError(f"{path}: was changed while it was read")
    return b"".join(parts)


def require_regular(path: Path, limit: int) -> os.stat_result:
    """Refuse what is no regular file of at most `limit` bytes; nothing is opened.

    Returns:
        What the file system says about the file.

    Raises:
        InputError: If it is missing, a link, a folder, a FIFO or a device, or larger.
    """
    try:
        found = path.lstat()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {_reason(error)}") from None
    _require(path, found, limit)
    return found


@contextmanager
def open_regular(path: Path, limit: int) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file of at most `limit` bytes for reading.

    Yields:
        Its descriptor, closed after the block, and what the file system says about this very file.

    Raises:
        InputError: As `require_regular`; and if it cannot be opened.
    """
    require_regular(path, limit)  # opening a device can have effects, so it is asked before as well as after
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {_reason(error)}") from None
    try:
        found = os.fstat(descriptor)
        _require(path, found, limit)
        yield descriptor, found
    finally:
        os.close(descriptor)


def _require(path: Path, found: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _KINDS if test(found.st_mode)), "something else")
        raise InputError(f"{path}: is {kind}, not a regular file")
    if found.st_size > limit:
        raise InputError(f"{path}: has {found.st_size:,} bytes, more than the {limit:,} that such a file can have")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    return f"cannot be opened ({getattr(error, 'strerror', None) or error})"
