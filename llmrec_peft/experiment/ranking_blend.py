"""Ranking blend: with which baseline of rankings, and which share of it, the tuned model answers."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.measures import best_of
from llmrec_peft.evaluation.outcomes import Outcome, Ranks, in_chunks, joined, rank_targets, sampled_rows
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.experiment.served_blend import ServedBlend, ServedShare
from llmrec_peft.experiment.served_signal import POPULARITY, served_signal, slope
from llmrec_peft.heads.contract import Joined
from llmrec_peft.model.served_baseline import with_baseline
from llmrec_peft.model.served_followers import FOLLOWERS, WITH_WORDS
from llmrec_peft.model.served_neighbours import NEIGHBOURS, WITH_TEXTS

if TYPE_CHECKING:
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.experiment.decisions import Validation
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.heads.contract import TaskHead
    from llmrec_peft.model import RecModel

SERVABLE = (POPULARITY, NEIGHBOURS, WITH_TEXTS, FOLLOWERS, WITH_WORDS)
"""Baselines of rankings that tables and the model's own vectors of texts express, so that a run folder can hold them.

`WITH_TEXTS` compares vectors of texts, so it is served where the model reads some. `WITH_WORDS` compares words of the
data's titles, whose similarities are a table: it needs no language model, and is served whatever the model reads.
"""
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Shares of a baseline that are tried."""
SAMPLE = 2000
"""Examples of validation on which baseline and share are chosen, at most."""
SCALED_ON = 256
"""Of these, examples on which the deviations of scores are compared, at most."""


class RankingBlend(ServedBlend):
    """score = (1 - share) · model + share · w · baseline, with one factor w for all examples.

    Other than the reported `Blend`, which scales both sides by their deviations in each example's catalogue, what is
    served adds a fixed multiple of the baseline's score, so that single pairs are scored as lists are.
    """

    def __init__(self, head: str, prepared: Prepared, baselines: Sequence[Baseline]) -> None:
        """Name what may be blended.

        Args:
            head: Name of the head.
            prepared: Data, and how the head is evaluated on it.
            baselines: Its baselines.
        """
        super().__init__(head, prepared)
        names = SERVABLE if prepared.recipe.reads.item_text else set(SERVABLE) - {WITH_TEXTS}
        self._baselines = [one for one in baselines if one.name in names and one.scores is not None]
        self._scale: float = 0.0
        self._valid: Outcome | None = None

    def choose(self, validation: Validation) -> None:
        """Choose baseline and share, and rank validation with both if the blend helps."""
        model = validation.model
        if not self._baselines or not _scales(model.heads[self._head], self._prepared.recipe.fusion.dim, model.device):
            return
        valid, protocol = self._prepared.valid, self._prepared.protocol
        rows = sampled_rows(len(valid), SAMPLE)
        sample = valid.take(rows)
        with model.ranking(valid, protocol.num_items, self._head) as own:
            scales = [_scale(own, one, rows) for one in self._baselines]
            alone, outcomes = self._ranked(own, rows, scales)
        figures = {key: self._measure.report(one, sample)[self._metric] for key, one in outcomes.items()}
        at, share = best_of(figures, self._metric)
        over_model = self._over_model(outcomes[at, share], alone, sample)
        if not over_model.exceeds_error:
            return
        baseline, self._scale = self._baselines[at], scales[at]
        self.found = ServedShare(baseline.name, baseline.settings, share, over_model, len(rows))
        both = self._model(model, self.found, protocol.train)
        self._valid = outcome_of(both, self._head, valid, protocol, protocol.train)

    def _answering(self, model: RecModel, found: ServedShare) -> tuple[RecModel, Outcome]:
        """Return the blend as a model, and what it ranked for the whole validation part."""
        assert self._valid is not None  # noqa: S101 - ranked together with `found`
        return self._model(model, found, self._prepared.protocol.learned), self._valid

    def _model(self, model: RecModel, found: ServedShare, learned: Interactions) -> RecModel:
        """Return the blend as a model; the head's own scale is taken out of the baseline's weight."""
        weight = found.share * self._scale / slope(model.heads[self._head], model.device)
        records = self._prepared.records(learned)
        signal = served_signal(self._prepared, found.baseline, found.settings, weight, records)
        return with_baseline(model, signal, found.share)

    def _ranked(
        self, own: Any, rows: NDArray[np.int64], scales: Sequence[float]
    ) -> tuple[Ranks, dict[tuple[int, float], Ranks]]:
        """Rank the sample with the model alone and with every baseline, by place, at every share."""
        valid, protocol = self._prepared.valid, self._prepared.protocol
        found: dict[tuple[int, float], list[Ranks]] = {}
        for chunk in in_chunks(rows, protocol.num_items):
            some, scores = valid.take(chunk), own(chunk).float()
            for key, mixed in self._mixed(scores, chunk, scales):
                given = functools.partial(_given, mixed)
                ranks = rank_targets(some, given, protocol.num_items, own_items=protocol.own_items)
                found.setdefault(key, []).append(ranks)
        outcomes = {key: joined(ranks) for key, ranks in found.items()}
        return outcomes.pop(_ALONE), outcomes

    def _mixed(
        self, own: torch.Tensor, rows: NDArray[np.int64], scales: Sequence[float]
    ) -> Iterator[tuple[tuple[int, float], torch.Tensor]]:
        yield _ALONE, own
        for at, (baseline, scale) in enumerate(zip(self._baselines, scales, strict=True)):
            assert baseline.scores is not None  # noqa: S101 - asked when they were chosen
            other = scale * baseline.scores[0](rows).to(own.device).float()
            for share in SHARES:
                yield (at, share), (1.0 - share) * own + share * other


_ALONE = (-1, 0.0)


def _scale(own: Any, baseline: Baseline, rows: NDArray[np.int64]) -> float:
    """Return the median over some examples of how much further the model's scores deviate than the baseline's."""
    assert baseline.scores is not None  # noqa: S101 - asked when they were chosen
    some = rows[:: max(1, len(rows) // SCALED_ON)]
    first, second = (scores(some).float().std(dim=1).cpu().numpy() for scores in (own, baseline.scores[0]))
    told = second > 0.0  # whose history says nothing deviates by nothing
    return float(np.median(first[told] / second[told])) if told.any() else 0.0


def _scales(head: TaskHead[Any], dim: int, device: torch.device) -> bool:
    """Return whether a head's score grows with its vectors: one that normalizes them cannot be weighed by a share."""
    with torch.no_grad():
        ones = torch.ones(1, dim, device=device)
        sides = [Joined(factor * ones, torch.zeros(1, device=device)) for factor in (1.0, 2.0)]
        once, twice = (head.sides(side, side)[0].vector for side in sides)
        return once is not None and twice is not None and bool(torch.allclose(2.0 * once, twice))


def _given(scores: torch.Tensor, rows: NDArray[np.int64]) -> torch.Tensor:
    return scores
