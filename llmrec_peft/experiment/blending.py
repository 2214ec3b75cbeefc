"""Blending: a model's score with the trivial line added, weighed on validation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.measures import Measure, better
from llmrec_peft.evaluation.outcomes import CHUNK, Outcome, Ranks, joined, rank_targets
from llmrec_peft.model.rec_model import ChunkScores

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Shares of the line in a blend that are tried."""


@dataclass(frozen=True)
class Blend:
    """A blend with what validation chose.

    Attributes:
        share: Share of the line; 0 is the model alone, 1 the line alone.
        valid: Outcome on validation.
        test: Outcome on test.
    """

    share: float
    valid: Outcome
    test: Outcome


def blend_pairs(
    task: str,
    model: tuple[NDArray[np.floating], NDArray[np.floating]],
    line: Baseline,
    valid: Interactions,
    measure: Measure,
    metric: str,
) -> Blend:
    """Blend scores of pairs: stars as they are, probabilities as log-odds.

    Args:
        task: ``rating`` or ``click``.
        model: The model's scores of validation and of test.
        line: The trivial line.
        valid: Validation part.
        measure: How outcomes are measured.
        metric: Primary metric, which chooses the share.
    """
    others = (line.valid, line.test)
    mixed: dict[float, Outcome] = {w: _mixed(task, model[0], others[0], w) for w in WEIGHTS}
    share = _best(mixed, lambda outcome: measure.report(outcome, valid)[metric], metric)
    return Blend(share, mixed[share], _mixed(task, model[1], others[1], share))


def _mixed(task: str, own: Outcome, line: Outcome, share: float) -> NDArray[np.floating]:
    if isinstance(own, Ranks) or isinstance(line, Ranks):
        raise TypeError("ranks cannot be blended, their scores can")
    if task == "rating":
        return (1.0 - share) * own + share * line
    from scipy.special import expit, logit

    odds = [logit(np.clip(np.asarray(p, np.float64), 1e-6, 1.0 - 1e-6)) for p in (own, line)]
    return np.asarray(expit((1.0 - share) * odds[0] + share * odds[1]))


def blend_rankings(own: ChunkScores, line: ChunkScores, share: float) -> ChunkScores:
    """Scores of a catalogue, each side scaled to a deviation of 1 over the items of an example."""
    return lambda rows: _mixed_rows(*_scaled(own, line, rows), share)


def choose_share(
    part: Interactions,
    own: ChunkScores,
    line: ChunkScores,
    num_items: int,
    own_items: bool,
    measure: Measure,
    metric: str,
    sample: int = 4000,
) -> float:
    """The share of the line in a blended ranking that is best on validation, or on a sample of it.

    Args:
        part: Validation part.
        own: The model's scores.
        line: The line's scores.
        num_items: Rows of an item table.
        own_items: Whether items of an example's history are ranked too.
        measure: How outcomes are measured.
        metric: Primary metric.
        sample: Examples looked at, at most.
    """
    rows = np.arange(len(part))
    if len(rows) > sample:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:sample])
    found: dict[float, list[Ranks]] = {share: [] for share in WEIGHTS}
    for at in range(0, len(rows), CHUNK):
        chosen = rows[at : at + CHUNK]
        sides, some = _scaled(own, line, chosen), part.take(chosen)
        for share, ranks in found.items():
            constant = functools.partial(_constant, _mixed_rows(*sides, share))
            ranks.append(rank_targets(some, constant, num_items, own_items=own_items))
    outcomes: dict[float, Outcome] = {share: joined(ranks) for share, ranks in found.items()}
    whole = part.take(rows)
    return _best(outcomes, lambda outcome: measure.report(outcome, whole)[metric], metric)


def _scaled(own: ChunkScores, line: ChunkScores, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    first = own(rows).float()
    second = line(rows).to(first.device).float()
    return _by_deviation(first), _by_deviation(second)


def _by_deviation(scores: Tensor) -> Tensor:
    return scores / scores.std(dim=1, keepdim=True).clamp(min=1e-9)


def _mixed_rows(first: Tensor, second: Tensor, share: float) -> Tensor:
    return (1.0 - share) * first + share * second


def _constant(scores: Tensor, rows: NDArray[np.int64]) -> Tensor:
    return scores


def _best(outcomes: dict[float, Outcome], figure: Callable[[Outcome], float], metric: str) -> float:
    best: tuple[float, float] | None = None
    for share, outcome in outcomes.items():
        value = figure(outcome)
        if best is None or better(metric, value, best[0]):
            best = (value, share)
    assert best is not None  # noqa: S101 - there are shares to try
    return best[1]
