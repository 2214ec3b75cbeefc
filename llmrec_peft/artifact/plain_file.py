"""Small JSON files of ours, read as if a stranger had put them there."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from llmrec_peft.errors import InputError

_LONGEST_SHOWN = 160


def read_object(path: Path, most_bytes: int = 8 << 20) -> dict[str, Any]:
    """Read a JSON object from an ordinary file of a bounded size; a link, a pipe or a device is not followed.

    Args:
        path: File to read.
        most_bytes: Largest size that is read.

    Raises:
        InputError: In one line, if it is anything else, or missing.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > most_bytes:
                raise InputError(f"{shown(path)} is broken: no ordinary file of at most {most_bytes:,} bytes")
            values = json.loads(file.read(most_bytes))
    except RecursionError:
        raise InputError(f"{shown(path)} is broken: nested too deeply") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(path)} is broken ({getattr(error, 'strerror', None) or error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{shown(path)} is broken: no JSON object")
    return values


def shown(path: Path | str) -> str:
    """Return a path for a message: one line of printable characters, the middle of a long one left out."""
    text = str(path)
    text = text if text.isprintable() else repr(text)
    half = _LONGEST_SHOWN // 2
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:half]}…{text[-half:]}"


def is_file(path: Path) -> bool:
    """Whether a file lies at a path; False as well for a path that is too long or cannot be looked at."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder lies at a path; False as well for a path that is too long or cannot be looked at."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
