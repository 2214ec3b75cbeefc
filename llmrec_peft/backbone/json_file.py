"""JSON files of a base folder, which may come from a stranger: bounded, regular, one line when they are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from llmrec_peft.errors import InputError

LARGEST = 1 << 20
"""Bytes of a configuration file."""


def read_json(path: Path, kind: type) -> Any:
    """Read a configuration file of a base folder.

    Args:
        path: The file; a link to a regular file is one, as in the Hub's cache.
        kind: What it contains at the top, `dict` or `list`.

    Raises:
        InputError: If it is not a regular UTF-8 file of at most `LARGEST` bytes with JSON of that kind.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: is missing or not a regular file")
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: a configuration file takes at most {LARGEST} bytes")
        found = json.loads(path.read_bytes().decode("utf-8"), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON in UTF-8 ({str(error).splitlines()[0][:120]})") from None
    if not isinstance(found, kind):
        raise InputError(f"{path}: contains a {type(found).__name__}, not a {kind.__name__}")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
