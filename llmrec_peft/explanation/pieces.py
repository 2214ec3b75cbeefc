"""Pieces: what a score can be explained by and scored without, and variants of a pair that miss some of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["signal", "history", "word", "path"]
KINDS: tuple[Kind, ...] = ("signal", "history", "word", "path")
"""Kinds of evidence in the order in which they are told."""
PLURAL: dict[Kind, str] = {"signal": "signals", "history": "history items", "word": "words", "path": "graph paths"}
"""What several pieces of a kind are called."""


@dataclass(frozen=True)
class Pair:
    """One user and one item.

    Attributes:
        user: User index.
        row: Row of the item in the catalogue.
    """

    user: int
    row: int


@dataclass(frozen=True)
class Piece:
    """One thing that can be left out of a pair.

    Attributes:
        kind: What it is.
        key: Which one: a signal's name, the index of a history's item, the number of a word in the item's text, or
            the place of an item's neighbour in the graph.
        what: It in words.
        details: Further plain values for reports.
    """

    kind: Kind
    key: str | int
    what: str = field(compare=False, default="")
    details: Mapping[str, Any] = field(compare=False, default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """A pair as it would be without some pieces.

    Attributes:
        pair: The pair.
        without: What is left out, all at once.
    """

    pair: Pair
    without: tuple[Piece, ...] = ()

    def keys(self, kind: Kind) -> frozenset[Any]:
        """Keys of the pieces of one kind that are left out."""
        return frozenset(piece.key for piece in self.without if piece.kind == kind)
