"""Pieces: the units that explain a score and can be left out, and variants of a pair without some of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Kind = Literal["signal", "history", "word", "path"]
KINDS: tuple[Kind, ...] = ("signal", "history", "word", "path")
"""Kinds of evidence in the order of reports."""
PLURAL: dict[Kind, str] = {"signal": "signals", "history": "history items", "word": "words", "path": "graph paths"}
"""Plural of each kind."""


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
        kind: Kind of the piece.
        key: Which one: a signal's name, the index of a history's item, the number of a word in the item's text, or the
            place of an item's neighbour in the graph.
        what: The piece in words.
        details: Further plain values for reports.
    """

    kind: Kind
    key: str | int
    what: str = field(compare=False, default="")
    details: Mapping[str, Any] = field(compare=False, default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """A pair without some pieces.

    Attributes:
        pair: The pair.
        without: Pieces that are left out, all together.
    """

    pair: Pair
    without: tuple[Piece, ...] = ()

    def keys(self, kind: Kind) -> frozenset[Any]:
        """Return the keys of the pieces of one kind that are left out."""
        return frozenset(piece.key for piece in self.without if piece.kind == kind)


def mask_of(name: str, keys: frozenset[str | int], places: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return 1 at the places of a signal's neighbours that keys name, float32 [places]."""
    mask = np.zeros(places, np.float32)
    for key in keys:
        signal, _, place = str(key).rpartition(":")
        if signal == name:
            mask[int(place)] = 1.0
    return mask
