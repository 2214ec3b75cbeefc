"""Evidence: contributions of single pieces to a score, in the form of reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmrec_peft.explanation.pieces import KINDS, Kind, Piece

Method = Literal["exact", "leave-one-out", "integrated gradients"]
"""How a contribution was computed: as a term of a sum that is the score, by scoring without the piece, or along a
path from a text without words."""
DIGITS = 6
"""Decimal places of values in a report."""


@dataclass(frozen=True)
class Evidence:
    """Contribution of one piece to a score.

    Attributes:
        kind: Kind of the piece.
        what: The piece in words.
        contribution: What it added to the score, in the unit of the explanation; negative if it spoke against the item.
        method: How the contribution was computed.
        details: Further plain values, such as the id of a history's item.
    """

    kind: Kind
    what: str
    contribution: float
    method: Method
    details: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        contribution = round(self.contribution, DIGITS)
        values = {"kind": self.kind, "what": self.what, "contribution": contribution, "method": self.method}
        return {**values, **self.details}


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
        score: Score of the pair as `Recommender.score` returns it.
        raw: The score before it is clamped or calibrated, to which the contributions refer.
        unit: Unit of `raw`.
        base: What the head itself adds, by name.
        evidence: Pieces of all kinds, those of a kind by the size of their contribution.
        notes: What could not be explained, and why.
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
        """Return the evidence of one kind, largest contribution first."""
        return [one for one in self.evidence if one.kind == kind]

    def top(self, count: int) -> Explanation:
        """Return the explanation with at most `count` pieces per kind; terms of signals, which are a sum, all stay."""
        kept = [one for kind in KINDS for one in (self.of(kind) if kind == "signal" else self.of(kind)[:count])]
        return Explanation(**{**self.__dict__, "evidence": tuple(kept)})

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values."""
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


def by_weight(evidence: list[Evidence]) -> list[Evidence]:
    """Sort by the size of the contribution, largest first, whatever its sign."""
    return sorted(evidence, key=lambda one: -abs(one.contribution))
