"""Evidence: what carried a score, piece by piece, as reports tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmrec_peft.explanation.pieces import KINDS, Kind, Piece

Method = Literal["exact", "leave-one-out", "integrated gradients"]
"""How a contribution was found: as a term of a sum that is the score, by scoring without the piece, or along a path
from a text without words."""
DIGITS = 6
"""Decimal places of figures in a report."""


@dataclass(frozen=True)
class Evidence:
    """What one piece did to a score.

    Attributes:
        kind: What the piece is.
        what: It in words.
        contribution: What it added to the score, in the unit of the explanation; below zero where it spoke against
            the item.
        method: How that was found.
        details: Further plain values, such as the id of a history's item.
    """

    kind: Kind
    what: str
    contribution: float
    method: Method
    details: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        contribution = round(self.contribution, DIGITS)
        told = {"kind": self.kind, "what": self.what, "contribution": contribution, "method": self.method}
        return {**told, **self.details}


@dataclass(frozen=True)
class Weighed:
    """A piece with its contribution.

    Attributes:
        piece: The piece.
        contribution: What it added to the score.
    """

    piece: Piece
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """Why an item has its score for a user.

    Attributes:
        user: User id.
        item: Item id.
        title: The item's title.
        score: What `Recommender.score` says of the pair.
        raw: The score before it is clamped or calibrated: what the contributions speak of.
        unit: What `raw` is counted in.
        base: What the head adds by itself, by name.
        evidence: Pieces of all kinds, those of a kind by the size of their contribution.
        notes: What could not be told, and why.
    """

    user: str
    item: str
    title: str
    score: float
    raw: float
    unit: str
    base: Mapping[str, float]
    evidence: tuple[Evidence, ...]
    notes: tuple[str, ...] = ()

    def of(self, kind: Kind) -> list[Evidence]:
        """The evidence of one kind, the weightiest first."""
        return [one for one in self.evidence if one.kind == kind]

    def top(self, count: int) -> Explanation:
        """The same with at most so many pieces of each kind, but all terms of the signals, which are a sum."""
        kept = [one for kind in KINDS for one in (self.of(kind) if kind == "signal" else self.of(kind)[:count])]
        return Explanation(**{**self.__dict__, "evidence": tuple(kept)})

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "user": self.user,
            "item": self.item,
            "title": self.title,
            "score": round(self.score, DIGITS),
            "raw": round(self.raw, DIGITS),
            "unit": self.unit,
            "base": {name: round(value, DIGITS) for name, value in self.base.items()},
            "evidence": [one.plain() for one in self.evidence],
            "notes": list(self.notes),
        }


def by_weight(found: list[Evidence]) -> list[Evidence]:
    """The weightiest first, whatever their sign."""
    return sorted(found, key=lambda one: -abs(one.contribution))
