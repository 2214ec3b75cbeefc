"""Exchange: a new folder takes the place of a former one in one step, or in two that a later start can finish."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNABLE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
"""Errors of systems and file systems that cannot exchange two names."""


def exchange(new: Path, target: Path, aside: Path) -> Path | None:
    """Put `new` in the place of `target`.

    Where the system can, both names are exchanged in one step. Elsewhere the former folder is renamed to `aside`
    first; between the two steps there is no `target`, and `recover` brings the former one back.

    Args:
        new: Folder that is complete, on the same file system.
        target: Where it goes.
        aside: Free path on the same file system.

    Returns:
        Where the former folder lies now; None if there was none.

    Raises:
        OSError: If it cannot be done; `target` is the former one then.
    """
    if not os.path.lexists(target):
        new.rename(target)
        return None
    if swapped(new, target):
        return new
    target.rename(aside)
    try:
        new.rename(target)
    except OSError:
        aside.rename(target)
        raise
    return aside


def recover(target: Path, aside: Path) -> None:
    """Bring a former folder back that a kill left aside, with nothing in its place."""
    if not os.path.lexists(target) and aside.is_dir() and not aside.is_symlink():
        aside.rename(target)


def swapped(first: Path, second: Path) -> bool:
    """Exchange two names in one step; return False where the system cannot, and nothing has changed then.

    Raises:
        OSError: If it could, but was refused.
    """
    rename = _renameat2()
    if rename is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNABLE:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    """Linux' renameat2, which Python does not offer; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    function.restype = ctypes.c_int
    return function
