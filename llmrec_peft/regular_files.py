"""Regular files of a bounded size: how a file that may come from a stranger is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmrec_peft.errors import InputError, reason_of

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Opening a FIFO without a writer does not wait."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
SAFE_FLAGS = _FLAGS | _NO_LINK
"""Flags for opening what has to be a regular file: no link is followed, and nothing waits."""
_PART = 1 << 22
"""Bytes that are asked for at once."""
_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_regular(path: Path, limit: int, follow_links: bool = False) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        InputError: If it is unreadable or changes meanwhile, or as `require_regular`; nothing was read then.
    """
    with open_regular(path, limit, follow_links) as (descriptor, found):
        try:
            content = b"".join(read_parts(descriptor, found.st_size + 1))  # no more of a file that grows meanwhile
        except OSError as error:
            raise InputError(f"{path}: unreadable ({reason_of(error)})") from None
    if len(content) > found.st_size:
        raise InputError(f"{path}: was changed while it was read")
    return content


def read_parts(descriptor: int, size: int) -> Iterator[bytes]:
    """Yield the next `size` bytes of an open file in parts of a few megabytes; fewer bytes if it ends before."""
    while size > 0 and (part := os.read(descriptor, min(size, _PART))):
        yield part
        size -= len(part)


def require_regular(path: Path, limit: int, follow_links: bool = False) -> os.stat_result:
    """Refuse what is no regular file of at most `limit` bytes; nothing is opened.

    Args:
        path: The file.
        limit: Bytes that it can have.
        follow_links: Whether a link to such a file is one too, as in the Hub's cache, which consists of links.

    Returns:
        What the file system says about the file.

    Raises:
        InputError: If it is missing, a link, a folder, a FIFO or a device, or larger.
    """
    try:
        found = path.stat() if follow_links else path.lstat()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {_reason(path, error)}") from None
    _require(path, found, limit)
    return found


@contextmanager
def open_regular(path: Path, limit: int, follow_links: bool = False) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file of at most `limit` bytes for reading.

    Yields:
        Its descriptor, closed after the block, and what the file system says about this very file.

    Raises:
        InputError: As `require_regular`; and if it cannot be opened.
    """
    require_regular(path, limit, follow_links)  # before as well as after: opening a device can have effects
    try:
        descriptor = os.open(path, _FLAGS if follow_links else SAFE_FLAGS)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {_reason(path, error)}") from None
    try:
        found = os.fstat(descriptor)
        _require(path, found, limit)
        yield descriptor, found
    finally:
        os.close(descriptor)


def is_file(path: Path) -> bool:
    """Return whether a file lies at a path; False as well for a path that is too long or cannot be looked at."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether a folder lies at a path; False as well for a path that is too long or cannot be looked at."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _require(path: Path, found: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _KINDS if test(found.st_mode)), "something else")
        raise InputError(f"{path}: is {kind}, not a regular file")
    if found.st_size > limit:
        raise InputError(f"{path}: has {found.st_size:,} bytes, more than the {limit:,} that such a file can have")


def _reason(path: Path, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "is a link to nothing" if path.is_symlink() else "is missing"
    return f"cannot be opened ({reason_of(error)})"
