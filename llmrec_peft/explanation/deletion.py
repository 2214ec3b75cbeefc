"""Deletion test: removing the first pieces of evidence must lower the score more than removing other pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.evaluation.intervals import paired_interval
from llmrec_peft.evaluation.weighted import mean_figure
from llmrec_peft.explanation.evidence import DIGITS, Weighed
from llmrec_peft.explanation.pieces import Kind, Pair, Piece, Variant

Scores = Callable[[Sequence[Variant]], NDArray[np.float64]]
"""Computes raw scores of variants, each without all pieces that it leaves out."""
UNREAD = 1e-7
"""Contributions up to this size count as not read by the model: beating such pieces would prove nothing."""
RESAMPLES = 2000
"""Bootstrap resamples of the interval."""


@dataclass(frozen=True)
class PairDeletion:
    """Result of deletion for one pair.

    Attributes:
        pair: The pair.
        k: Pieces that were removed together.
        top: Decrease of the score without the k pieces of highest contribution.
        random: Decrease without k other pieces, for each draw.
    """

    pair: Pair
    k: int
    top: float
    random: tuple[float, ...]

    @property
    def difference(self) -> float:
        """`top` less the mean of `random`."""
        return self.top - float(np.mean(self.random))

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values; `spread` is the standard deviation over draws."""
        return {
            "k": self.k,
            "draws": len(self.random),
            "top_drop": round(self.top, DIGITS),
            "random_drop": round(float(np.mean(self.random)), DIGITS),
            "spread": round(float(np.std(self.random)), DIGITS),
            "difference": round(self.difference, DIGITS),
            "draws_below_top": round(float(np.mean(np.asarray(self.random) < self.top)), DIGITS),
        }


@dataclass(frozen=True)
class Faithfulness:
    """Result of the deletion test of one kind of evidence over many pairs.

    Attributes:
        kind: Kind of the pieces.
        k: Pieces removed together; half of a pair's pieces if it has fewer than 2 k.
        draws: Draws of other pieces for each pair.
        pairs: Pairs that were tested.
        left_out: Pairs with fewer than two pieces, or without any that speaks for the item.
        top: Mean decrease of the score without the first pieces.
        random: Mean decrease without other pieces.
        difference: `top` less `random`.
        low: 2.5 % quantile of the difference over resampled users.
        high: 97.5 % quantile.
    """

    kind: Kind
    k: int
    draws: int
    pairs: int
    left_out: int
    top: float
    random: float
    difference: float
    low: float
    high: float

    @property
    def passes(self) -> bool:
        """Whether the interval of the difference lies above zero."""
        return self.low > 0.0

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        figures = {
            "top_drop": self.top,
            "random_drop": self.random,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
        }
        counts = {"k": self.k, "draws": self.draws, "pairs": self.pairs, "left_out": self.left_out}
        return {**counts, **{n: round(value, DIGITS) for n, value in figures.items()}, "passes": self.passes}


def delete(
    pairs: Sequence[Pair], weighed: Sequence[Sequence[Weighed]], score: Scores, k: int, draws: int, seed: int
) -> list[PairDeletion]:
    """Remove evidence from pairs and compute their scores again.

    For each pair the k pieces with the highest positive contributions are removed together, and, for each draw, as
    many others at random. k is lowered to half of the pieces, so that there are others to draw.

    Args:
        pairs: Pairs.
        weighed: Their pieces of one kind with contributions.
        score: Computes scores of variants.
        k: Pieces to remove together.
        draws: Draws of other pieces.
        seed: Seed of the draws.

    Returns:
        One result for each pair with at least two pieces, one of them with a positive contribution.
    """
    variants: list[Variant] = []
    tested: list[tuple[Pair, int]] = []
    for number, (pair, pieces) in enumerate(zip(pairs, weighed, strict=True)):
        first, others = _divided(pieces, k)
        if not first:
            continue
        rng = np.random.default_rng([seed, number])
        tested.append((pair, len(first)))
        variants += [Variant(pair), Variant(pair, tuple(first))]
        for _ in range(draws):
            drawn = rng.choice(len(others), len(first), replace=False)
            variants.append(Variant(pair, tuple(others[at] for at in sorted(drawn.tolist()))))
    if not tested:
        return []
    scores = score(variants).reshape(len(tested), 2 + draws)
    falls = scores[:, :1] - scores[:, 1:]
    return [
        PairDeletion(pair, size, float(fall[0]), tuple(fall[1:].tolist()))
        for (pair, size), fall in zip(tested, falls, strict=True)
    ]


def summarized(kind: Kind, outcomes: Sequence[PairDeletion], draws: int, asked: int) -> Faithfulness | None:
    """Compute the mean difference with an interval over resampled users; None if no pair could be tested.

    Args:
        kind: Kind of the pieces.
        outcomes: Results of the pairs that were tested.
        draws: Draws of other pieces.
        asked: Number of pairs to be tested.
    """
    if not outcomes:
        return None
    top = np.array([outcome.top for outcome in outcomes])
    random = np.array([np.mean(outcome.random) for outcome in outcomes])
    users = np.array([outcome.pair.user for outcome in outcomes])
    interval = paired_interval(mean_figure(top), mean_figure(random), users, RESAMPLES)
    return Faithfulness(
        kind=kind,
        k=max(outcome.k for outcome in outcomes),
        draws=draws,
        pairs=len(outcomes),
        left_out=asked - len(outcomes),
        top=float(top.mean()),
        random=float(random.mean()),
        difference=interval.difference,
        low=interval.low,
        high=interval.high,
    )


def _divided(weighed: Sequence[Weighed], k: int) -> tuple[list[Piece], list[Piece]]:
    """Return the pieces that are removed first, and those from which others are drawn."""
    read = [one for one in weighed if abs(one.contribution) > UNREAD]
    ranked = sorted(read, key=lambda one: -one.contribution)
    above = sum(one.contribution > 0.0 for one in ranked)
    count = min(k, above, len(ranked) // 2)
    return [one.piece for one in ranked[:count]], [one.piece for one in ranked[count:]]
