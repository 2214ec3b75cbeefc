"""Small JSON files of ours, read as if a stranger had put them there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmrec_peft.errors import InputError
from llmrec_peft.strict_json import read_json

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
        values = read_json(path, most_bytes)
    except InputError as error:
        raise InputError(f"{shown(path)} is broken: {str(error).removeprefix(f'{path}: ')}") from None
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
