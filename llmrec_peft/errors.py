"""Error for wrong input: one line that says what was wrong and what would be right."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable

from llmrec_peft.printable import one_line


class InputError(Exception):
    """A mistake in what the user gave: a path, a file, a field, a name.

    The command line prints its message as one line on stderr and exits with code 2; the library raises it unchanged.
    Every other failure is a defect of this package and keeps its own type.
    """

    def __init__(self, message: object = "") -> None:
        """Keep the message as one line of printable text, whatever of a stranger's it repeats."""
        super().__init__(one_line(message))


class InterruptedTrainingError(Exception):
    """A training was interrupted by Ctrl-C and can be resumed; the message says with which command."""


class NotFiniteError(InputError, ValueError):
    """A number that was computed is nan or infinite: a diverged training, weights that overflow, broken data."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LONGEST_REASON = 200
_NUMBER = re.compile(r"(?:Errno|os error) (\d+)")


def disk_is_full(error: BaseException) -> bool:
    """Return whether an error says that the disk is full.

    safetensors, and `shutil` when it copies a folder, give the system's error number only in their message.
    """
    if error.__cause__ is not None:
        return disk_is_full(error.__cause__)
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return any(int(number) in _FULL for number in _NUMBER.findall(str(error)))


def reason_of(error: BaseException) -> str:
    """Return in one line what an error of the system or of a library says.

    >>> reason_of(FileNotFoundError(2, "No such file", "x")), reason_of(ValueError("no number\\nat all"))
    ('No such file', 'no number')
    """
    said = getattr(error, "strerror", None) or str(error)
    lines = (line.strip() for line in str(said).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:_LONGEST_REASON]


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that was probably meant: letters in another order first, as of "lroa" and "road".

    >>> nearest("lroa", ["lora", "road"])
    "did you mean 'lora'? Known: lora, road"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    close.sort(key=lambda one: sorted(one) != sorted(name))
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(names) if names else 'none'}"
