"""A guess with its evidence."""

from __future__ import annotations

from typing import Any, NamedTuple


class Guess(NamedTuple):
    """What a field of a form probably is.

    Attributes:
        value: The value.
        evidence: Why, in one plain sentence without its full stop.
        sure: False where somebody should look.
    """

    value: Any
    evidence: str
    sure: bool = True
