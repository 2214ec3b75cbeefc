"""JSON files of a base folder, which may come from a stranger: bounded, regular, one line when they are not.

Links are followed, of which the Hub's cache consists; a run's own files are read by `llmrec_peft.strict_json`.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from llmrec_peft.errors import InputError

LARGEST = 1 << 23
"""Bytes of a configuration file, at most."""


def read_json(path: Path, kind: type, limit: int = LARGEST) -> Any:
    """Read a JSON file as transformers and sentence-transformers do, which take NaN and Infinity for numbers.

    Args:
        path: The file, or a link to it.
        kind: What it holds at the top, `dict` or `list`.
        limit: Bytes that it may have.

    Raises:
        InputError: If it is missing, too large, no regular file, or no JSON in UTF-8 of that kind.
    """
    require_readable(path, limit)
    try:
        found = json.loads(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"backbone: {path} is no JSON ({first_line(error)})") from None
    if not isinstance(found, kind):
        raise InputError(f"backbone: {path} holds no JSON {'object' if kind is dict else kind.__name__}")
    return found


def require_readable(path: Path, limit: int) -> None:
    """Refuse what is no regular file, or link to one, of at most `limit` bytes.

    Raises:
        InputError: Saying what lies there.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise InputError(f"backbone: {path} is {'a link to nothing' if path.is_symlink() else 'missing'}") from None
    except OSError as error:
        raise InputError(f"backbone: {path} cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"backbone: {path} is no regular file")
    if found.st_size > limit:
        raise InputError(f"backbone: {path} has {found.st_size:,} bytes, more than the {limit:,} such a file can have")


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, shortened."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
