"""Deletion test: taking away what evidence names first must lower the score more than taking away anything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.evaluation.intervals import mean_figure, paired_interval
from llmrec_peft.explanation.evidence import DIGITS, Weighed
from llmrec_peft.explanation.pieces import Kind, Pair, Piece, Variant

Scores = Callable[[Sequence[Variant]], NDArray[np.float64]]
"""Raw scores of variants, each computed anew without all that it is to do without."""
UNREAD = 1e-7
"""Contribution up to which a piece counts as not read by the model: beating such pieces would prove nothing."""
RESAMPLES = 2000
"""Resamples of the interval."""


@dataclass(frozen=True)
class PairDeletion:
    """What deletion did to one pair's score.

    Attributes:
        pair: The pair.
        k: Pieces that were taken away at once.
        top: How far the score fell without the k pieces that evidence names first.
        random: How far it fell without k others, for each draw.
    """

    pair: Pair
    k: int
    top: float
    random: tuple[float, ...]

    @property
    def difference(self) -> float:
        """How much further it fell without the former than without others on average."""
        return self.top - float(np.mean(self.random))

    def plain(self) -> dict[str, Any]:
        """As plain values; `spread` is the standard deviation over draws."""
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
    """The deletion test of one kind of evidence over many pairs.

    Attributes:
        kind: Kind of the pieces.
        k: Pieces taken away at once: so many where a pair has twice as many, else half of its own.
        draws: Draws of other pieces for each pair.
        pairs: Pairs that were tested.
        left_out: Pairs that had fewer than two pieces, or none that spoke for the item.
        top: Mean fall of the score without the first pieces.
        random: Mean fall without others.
        difference: The former less the latter.
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
        """As plain values."""
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
    """Take evidence away from pairs and score them anew.

    For each pair the k pieces with the highest contributions above zero go at once, and, for each draw, as many
    others at random. k is lowered to half of the pieces, so that there are others to draw.

    Args:
        pairs: Pairs.
        weighed: Their pieces of one kind with contributions.
        score: Scores variants.
        k: Pieces to take away at once.
        draws: Draws of other pieces.
        seed: Seed of the draws.

    Returns:
        One outcome for each pair that has at least two pieces, one of them above zero.
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
    """Mean difference over pairs with an interval over resampled users; None where no pair could be tested.

    Args:
        kind: Kind of the pieces.
        outcomes: Pairs that were tested.
        draws: Draws of others.
        asked: Pairs that were to be tested.
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
    """The pieces that go first, and those to draw others from."""
    read = [one for one in weighed if abs(one.contribution) > UNREAD]
    ranked = sorted(read, key=lambda one: -one.contribution)
    above = sum(one.contribution > 0.0 for one in ranked)
    count = min(k, above, len(ranked) // 2)
    return [one.piece for one in ranked[:count]], [one.piece for one in ranked[count:]]
