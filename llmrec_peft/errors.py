"""The error of the person who typed the command: one line that says what would be right."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable


class InputError(Exception):
    """A mistake in what the user gave: a path, a file, a field, a name.

    The command line prints its message as one line on stderr and exits with code 2; the library raises
    it as it is. Everything else that goes wrong is a defect of ours and keeps its own type.
    """


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NUMBER = re.compile(r"(?:Errno|os error) (\d+)")


def disk_is_full(error: BaseException) -> bool:
    """Whether an error says that the disk has no room.

    safetensors, and `shutil` when it copies a folder, carry the system's error number in their text alone.
    """
    if error.__cause__ is not None:
        return disk_is_full(error.__cause__)
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return any(int(number) in _FULL for number in _NUMBER.findall(str(error)))


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant.

    >>> nearest("lroa", ["lora", "none"])
    "did you mean 'lora'? Known: lora, none"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(names) if names else 'none'}"
