"""Wording: captions of the kinds of evidence, and a piece of evidence in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TITLES = {
    "signal": "signals",
    "history": "items of the user's history",
    "word": "words of the item's text",
    "path": "connections in the graph",
}
"""Captions of the kinds of evidence."""
_OPINIONS = ("stars", "log-odds")
"""Units of runs whose labels are opinions of users; in rankings a label says only that the user chose the item."""


def described(piece: Mapping[str, Any], unit: str) -> str:
    """Return a piece in words; an item of the history with the user's opinion of it.

    >>> described({"what": "Heat", "label": 4.0}, "stars"), described({"what": "Heat", "label": 1.0}, "log-odds")
    ('Heat (rated 4)', 'Heat (liked)')

    Args:
        piece: A piece as plain values, see `Evidence.plain`.
        unit: Unit of the explanation.
    """
    if "label" not in piece or unit not in _OPINIONS:
        return str(piece["what"])
    opinion = f"rated {piece['label']:g}" if unit == "stars" else "liked" if piece["label"] > 0 else "not liked"
    return f"{piece['what']} ({opinion})"
