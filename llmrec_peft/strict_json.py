"""JSON from outside: bounded in depth, without repeated names, NaN or halves of characters, or refused in one line."""

from __future__ import annotations

import json
import re
import reprlib
from pathlib import Path
from typing import Any, NoReturn

from llmrec_peft.errors import InputError
from llmrec_peft.regular_files import read_regular

DEPTH = 32
"""How deep arrays and objects may lie in each other."""
_LONGEST = 120
"""Characters of a value in a message."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SHORT = reprlib.Repr()
_SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong, _SHORT.maxlevel = 80, 80, 40, 3


def read_json(path: Path, limit: int) -> Any:
    """Read a JSON file of at most `limit` bytes.

    Raises:
        InputError: If it is no regular file of that size, or as `parse_json`.
    """
    return parse_json(read_regular(path, limit), str(path))


def parse_json(data: bytes | bytearray, where: str) -> Any:
    """Parse JSON text in UTF-8.

    Args:
        data: The text; whoever calls has bounded its length.
        where: What it is, for the message.

    Raises:
        InputError: If it is no JSON, repeats a name in an object, holds NaN or half a character, or is nested deeper
            than `DEPTH`.
    """
    try:
        values = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
        if _SURROGATE.search(data):  # half a character, which no other reader takes and no file can be named by
            json.dumps(values, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise InputError(f"{where}: is nested deeper than {DEPTH}") from None
    except ValueError as error:  # of json, of UTF-8, of a number with thousands of digits, and ours
        raise InputError(f"{where}: no JSON that is read here ({str(error).splitlines()[0][:200]})") from None
    _require_depth(values, where)
    return values


def quoted(value: object) -> str:
    """Return a value of unknown size and content as one short printable line."""
    text = _SHORT.repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {quoted(twice)} stands twice in one object")
    return values


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _require_depth(values: Any, where: str) -> None:
    level = [values]
    for _ in range(DEPTH + 1):
        below = [value for value in level if isinstance(value, (dict, list))]
        level = [inner for value in below for inner in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return
    raise InputError(f"{where}: is nested deeper than {DEPTH}")
