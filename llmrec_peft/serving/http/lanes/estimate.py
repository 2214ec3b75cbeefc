"""Estimate: how many tokens the texts of new items have, without a tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

CHARACTERS = 4
"""Characters of a token in ASCII; any other one is taken for a token, as those of Chinese mostly are."""


def estimated_tokens(rows: Iterable[Mapping[str, Any]]) -> int:
    """Return about how many tokens the values of some items have, at least one an item.

    >>> estimated_tokens([{"item_id": "new-1", "title": "Brass Lanterns", "year": 1995, "genres": ["Crime"]}])
    9
    """
    return sum(max(1, sum(map(_tokens, row.values()))) for row in rows)


def _tokens(value: object) -> int:
    if isinstance(value, str):
        ascii_ = len(value) if value.isascii() else sum(character < "\x80" for character in value)
        return len(value) - ascii_ + -(-ascii_ // CHARACTERS)
    if isinstance(value, Mapping):
        return sum(map(_tokens, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_tokens, value))
    return 0 if value is None else 1
