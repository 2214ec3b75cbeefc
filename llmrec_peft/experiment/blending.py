"""Blending: a model's score with the best baseline's added, weighed on validation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.measures import Measure, best_of
from llmrec_peft.evaluation.outcomes import Outcome, Ranks, in_chunks, joined, rank_targets, sampled_rows
from llmrec_peft.model.rec_model import ChunkScores, RecModel

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.experiment.decisions import Validation
    from llmrec_peft.experiment.prepared import Prepared

Scores = NDArray[np.floating]
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Shares of the baseline in a blend that are tried."""


@dataclass(frozen=True)
class Share:
    """What validation chose for a blend.

    Attributes:
        value: Share of the baseline; 0 is the model alone, 1 the baseline alone.
        valid: What the blend predicts for validation.
    """

    value: float
    valid: Outcome


class Blend:
    """One head's blend with the best baseline, a decision of validation: its share is chosen there and kept."""

    def __init__(self, head: str, prepared: Prepared, baseline: Baseline) -> None:
        """Name what is blended.

        Args:
            head: Name of the head.
            prepared: Data, and how the head is evaluated on it.
            baseline: The best baseline of the head's task.
        """
        bare = prepared.recipe.reads.heads[head]
        self._head, self._task, self._metric = head, bare.task, bare.metric
        self._prepared, self._measure, self._baseline = prepared, prepared.measures[head], baseline
        self.share: Share | None = None

    def choose(self, validation: Validation) -> None:
        """Choose the share; none where a baseline gives ranks alone."""
        valid, protocol = self._prepared.valid, self._prepared.protocol
        if self._task != "ranking":
            own = _pairs(validation.outcome(self._head))
            others = _pairs(self._baseline.valid)
            value = choose_pair_share(self._task, own, others, valid, self._measure, self._metric)
            self.share = Share(value, blend_pairs(self._task, own, others, value))
        elif self._baseline.scores is not None:
            others_of, sizes = self._baseline.scores[0], (protocol.num_items, protocol.own_items)
            with validation.model.ranking(valid, protocol.num_items, self._head) as scores:
                value = choose_share(valid, scores, others_of, *sizes, self._measure, self._metric)
                mixed = blend_rankings(scores, others_of, value)
                self.share = Share(value, rank_targets(valid, mixed, sizes[0], own_items=sizes[1]))

    def keep(self, model: RecModel) -> None:
        """Nothing of a blend lies in a model: the share stays here."""

    def test(self, model: RecModel, own: Outcome, share: Share) -> Outcome:
        """Predict test with the blend.

        Args:
            model: The final model.
            own: What it predicts by itself, which scores of pairs need no more than.
            share: What was chosen.
        """
        if not isinstance(own, Ranks):
            return blend_pairs(self._task, own, _pairs(self._baseline.test), share.value)
        if self._baseline.scores is None:
            raise TypeError("ranks cannot be blended, their scores can")
        test, protocol = self._prepared.test, self._prepared.protocol
        with model.ranking(test, protocol.num_items, self._head) as scores:
            mixed = blend_rankings(scores, self._baseline.scores[1], share.value)
            return rank_targets(test, mixed, protocol.num_items, own_items=protocol.own_items)


def choose_pair_share(
    task: str, own: Scores, baseline: Scores, valid: Interactions, measure: Measure, metric: str
) -> float:
    """Choose the share of the baseline in blended scores of pairs that is best on validation.

    Args:
        task: ``rating`` or ``click``.
        own: The model's scores of validation, [n].
        baseline: The baseline's, [n].
        valid: Validation part.
        measure: How outcomes are measured.
        metric: Primary metric.
    """
    mixed: dict[float, Outcome] = {share: blend_pairs(task, own, baseline, share) for share in WEIGHTS}
    return _best(mixed, lambda outcome: measure.report(outcome, valid)[metric], metric)


def blend_pairs(task: str, own: Scores, baseline: Scores, share: float) -> Scores:
    """Blend scores of pairs, [n]: stars as they are, probabilities as log-odds."""
    if task == "rating":
        return (1.0 - share) * own + share * baseline
    from scipy.special import expit, logit

    odds = [logit(np.clip(np.asarray(p, np.float64), 1e-6, 1.0 - 1e-6)) for p in (own, baseline)]
    return np.asarray(expit((1.0 - share) * odds[0] + share * odds[1]))


def blend_rankings(own: ChunkScores, baseline: ChunkScores, share: float) -> ChunkScores:
    """Blend scores of a catalogue, each side scaled to a deviation of 1 over the items of an example."""
    return lambda rows: _mixed_rows(*_scaled(own, baseline, rows), share)


def choose_share(
    part: Interactions,
    own: ChunkScores,
    baseline: ChunkScores,
    num_items: int,
    own_items: bool,
    measure: Measure,
    metric: str,
    sample: int = 4000,
) -> float:
    """Choose the share of the baseline in a blended ranking that is best on validation, or on a sample of it.

    Args:
        part: Validation part.
        own: The model's scores.
        baseline: The baseline's scores.
        num_items: Rows of an item table.
        own_items: Whether items of an example's history are ranked too.
        measure: How outcomes are measured.
        metric: Primary metric.
        sample: Examples looked at, at most.
    """
    rows = sampled_rows(len(part), sample)
    found: dict[float, list[Ranks]] = {share: [] for share in WEIGHTS}
    for chosen in in_chunks(rows, num_items):
        sides, some = _scaled(own, baseline, chosen), part.take(chosen)
        for share, ranks in found.items():
            constant = functools.partial(_constant, _mixed_rows(*sides, share))
            ranks.append(rank_targets(some, constant, num_items, own_items=own_items))
    outcomes: dict[float, Outcome] = {share: joined(ranks) for share, ranks in found.items()}
    whole = part.take(rows)
    return _best(outcomes, lambda outcome: measure.report(outcome, whole)[metric], metric)


def _scaled(own: ChunkScores, baseline: ChunkScores, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    first = own(rows).float()
    second = baseline(rows).to(first.device).float()
    return _by_deviation(first), _by_deviation(second)


def _by_deviation(scores: Tensor) -> Tensor:
    return scores / scores.std(dim=1, keepdim=True).clamp(min=1e-9)


def _mixed_rows(first: Tensor, second: Tensor, share: float) -> Tensor:
    return (1.0 - share) * first + share * second


def _constant(scores: Tensor, rows: NDArray[np.int64]) -> Tensor:
    return scores


def _best(outcomes: dict[float, Outcome], figure: Callable[[Outcome], float], metric: str) -> float:
    return best_of({share: figure(outcome) for share, outcome in outcomes.items()}, metric)


def _pairs(outcome: Outcome) -> Scores:
    if isinstance(outcome, Ranks):
        raise TypeError("ranks cannot be blended, their scores can")
    return outcome
