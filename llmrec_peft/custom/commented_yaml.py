"""Commented YAML: plain values as a file that people read and change, with a comment beside each field."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from llmrec_peft.printable import for_json, for_terminal

WIDTH = 116
_PLAIN = re.compile(r"[A-Za-z_][\w.-]*(?: [\w.-]+)*")
_WORDS = frozenset("yes no on off true false null y n none".split())


def commented_yaml(values: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """Write plain values as YAML in their own order.

    Args:
        values: Blocks, lists of scalars and scalars.
        comments: What stands beside a field, by its dotted path; made harmless, whoever wrote it.

    Returns:
        Lines; a comment stands behind its field where there is room, else above it.
    """
    return "\n".join(_lines(values, comments, "", "")) + "\n"


def comment_lines(text: str, indent: str = "") -> list[str]:
    """Return a text of any content as lines of comment."""
    line = for_terminal(text)
    return [f"{indent}# {part}" for part in textwrap.wrap(line, WIDTH - len(indent) - 2)] or [f"{indent}#"]


def _lines(values: Mapping[str, Any], comments: Mapping[str, str], path: str, indent: str) -> Iterator[str]:
    for key, value in values.items():
        dotted = f"{path}.{key}" if path else key
        comment = for_terminal(comments.get(dotted, ""))
        nested = isinstance(value, Mapping) and bool(value)
        head = f"{indent}{scalar(key)}:" + ("" if nested else f" {_flow(value)}")
        if comment and len(head) + len(comment) + 4 <= WIDTH:
            yield f"{head}  # {comment}"
        else:
            if comment:
                yield from comment_lines(comment, indent)
            yield head
        if nested:
            yield from _lines(value, comments, dotted, f"{indent}  ")


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """Write one value; a text that could be read as something else, or that holds odd characters, stands in quotes.

    >>> scalar("user id"), scalar("no"), scalar("a: b"), scalar(0.5)
    ('user id', '"no"', '"a: b"', '0.5')
    """
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.isascii() and value.lower() not in _WORDS:
        return value
    return for_json(value)
