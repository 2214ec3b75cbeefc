"""The error of the person who typed the command: one line that says what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """A mistake in what the user gave: a path, a file, a field, a name.

    The command line prints its message as one line on stderr and exits with code 2; the library raises
    it as it is. Everything else that goes wrong is a defect of ours and keeps its own type.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant.

    >>> nearest("lroa", ["lora", "none"])
    "did you mean 'lora'? Known: lora, none"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(names) if names else 'none'}"
