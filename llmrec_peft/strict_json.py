"""JSON from outside: bounded in depth, without repeated names, NaN or halves of characters, or refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NoReturn

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import quoted as quoted  # noqa: PLC0414 - those who read files take it from here too
from llmrec_peft.regular_files import read_regular

DEPTH = 32
"""How deep arrays and objects may lie in each other."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_json(path: Path, limit: int, follow_links: bool = False, infinite: bool = False) -> Any:
    """Read a JSON file of at most `limit` bytes.

    Args:
        path: The file.
        limit: Bytes that it can have.
        follow_links: Whether a link to a regular file is read, see `llmrec_peft.regular_files.require_regular`.
        infinite: Whether ``NaN`` and ``Infinity`` are read, see `parse_json`.

    Raises:
        InputError: If it is no regular file of that size, or as `parse_json`.
    """
    return parse_json(read_regular(path, limit, follow_links), str(path), infinite)


def read_object(path: Path, limit: int, follow_links: bool = False, infinite: bool = False) -> dict[str, Any]:
    """Read a JSON object from a file; the arguments are those of `read_json`.

    Raises:
        InputError: As `read_json`; and if the file holds something else than an object.
    """
    values = read_json(path, limit, follow_links, infinite)
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds {quoted(values, 40)} where a JSON object belongs")
    return values


def parse_json(data: bytes | bytearray, where: str, infinite: bool = False, depth: int = DEPTH) -> Any:
    """Parse JSON text in UTF-8.

    Args:
        data: The text; whoever calls has bounded its length.
        where: What it is, for the message.
        infinite: Whether the words ``NaN`` and ``Infinity`` are numbers: Python writes them, JSON has none.
        depth: How deep arrays and objects may lie in each other.

    Raises:
        InputError: If it is no JSON, repeats a name in an object, holds NaN or half a character, or is nested deeper
            than `depth`.
    """
    constant = float if infinite else _no_number
    try:
        values = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=constant)
        if _SURROGATE.search(data):  # half a character, which no other reader takes and no file can be named by
            json.dumps(values, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise InputError(f"{where}: is nested deeper than {depth}") from None
    except ValueError as error:  # of json, of UTF-8, of a number with thousands of digits, and ours
        raise InputError(f"{where}: no JSON that is read here ({reason_of(error)})") from None
    _require_depth(values, where, depth)
    return values


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


def _require_depth(values: Any, where: str, depth: int) -> None:
    level = [values]
    for _ in range(depth + 1):
        below = [value for value in level if isinstance(value, (dict, list))]
        level = [inner for value in below for inner in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return
    raise InputError(f"{where}: is nested deeper than {depth}")
