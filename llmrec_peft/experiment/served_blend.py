"""Served blend: where validation shows that a baseline helps a ranking, both answer together from one run folder."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft.data.batches import Batch
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.baselines.ranking import neighbour_counts
from llmrec_peft.evaluation.intervals import paired_interval
from llmrec_peft.evaluation.measures import better
from llmrec_peft.evaluation.outcomes import Outcome, Ranks, in_chunks, joined, rank_targets
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.heads.contract import Joined
from llmrec_peft.model.served_baseline import NAME, ServedBaseline, with_baseline
from llmrec_peft.model.served_neighbours import NEIGHBOURS, WITH_TEXTS, NeighbourOptions, ServedNeighbours
from llmrec_peft.recipe.sections import ServedSection
from llmrec_peft.signals.parts.matrix_factorization import Factors

if TYPE_CHECKING:
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.experiment.decisions import Validation
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.heads.contract import TaskHead
    from llmrec_peft.model import RecModel

POPULARITY = "popularity"
SERVABLE = (POPULARITY, NEIGHBOURS, WITH_TEXTS)
"""Baselines of rankings that tables and the model's own vectors of texts express, so that a run folder can hold them.
"""
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Shares of a baseline that are tried."""
SAMPLE = 2000
"""Examples of validation on which baseline and share are chosen, at most."""
SCALED_ON = 256
"""Of these, examples on which the deviations of scores are compared, at most."""
RESAMPLES = 400
WIDTH = 3.92
"""Width of a 95 % interval, in standard errors."""


@dataclass(frozen=True)
class ServedShare:
    """What validation chose.

    Attributes:
        baseline: The baseline.
        share: Its share of the score.
        scale: How much further the model's scores of a catalogue deviate than the baseline's, as a factor.
        gain: How much better than the model alone the blend is on the sample of validation.
        low: Lower end of its 95 % interval over users.
        high: Its upper end.
        examples: Examples of the sample.
        valid: What the blend ranks for all of validation.
    """

    baseline: Baseline
    share: float
    scale: float
    gain: float
    low: float
    high: float
    examples: int
    valid: Outcome


class ServedBlend:
    """A decision of validation: which baseline, with which share, answers beside the tuned model; none if none helps.

    Other than the reported `Blend`, which scales both sides by their deviations in each example's catalogue, what is
    served adds a fixed multiple of the baseline's score, so that single pairs are scored as lists are. The blend is
    taken where it is better than the model alone by more than a standard error over users: it answers other users of
    the same items, so items are not drawn anew.
    """

    def __init__(self, head: str, prepared: Prepared, baselines: Sequence[Baseline]) -> None:
        """Name what may be blended.

        Args:
            head: Name of the head.
            prepared: Data, and how the head is evaluated on it.
            baselines: Its baselines.
        """
        self._head, self._prepared = head, prepared
        self._metric, self._measure = str(prepared.recipe.reads.heads[head].metric), prepared.measures[head]
        names = SERVABLE if prepared.recipe.reads.item_text else set(SERVABLE) - {WITH_TEXTS}
        self._baselines = [one for one in baselines if one.name in names and one.scores is not None]
        self.found: ServedShare | None = None

    def choose(self, validation: Validation) -> None:
        """Choose baseline and share, and rank validation with both if the blend helps."""
        model = validation.model
        if not self._baselines or not _scales(model.heads[self._head], self._prepared.recipe.fusion.dim, model.device):
            return
        valid, protocol = self._prepared.valid, self._prepared.protocol
        rows = np.arange(len(valid))
        if len(rows) > SAMPLE:
            rows = np.sort(np.random.default_rng(0).permutation(rows)[:SAMPLE])
        sample = valid.take(rows)
        with model.ranking(valid, protocol.num_items, self._head) as own:
            scales = [_scale(own, one, rows) for one in self._baselines]
            alone, outcomes = self._ranked(own, rows, scales)
        at = self._best(outcomes, sample)
        gain, low, high, error = self._difference(outcomes[at], alone, sample)
        if gain <= error:
            return
        baseline, share, scale = self._baselines[at[0]], at[1], scales[at[0]]
        draft = ServedShare(baseline, share, scale, gain, low, high, len(rows), outcomes[at])
        both = self._model(model, draft, protocol.train)
        whole = outcome_of(both, self._head, valid, protocol, protocol.train)
        self.found = ServedShare(**{**vars(draft), "valid": whole})

    def keep(self, model: RecModel) -> None:
        """Nothing of it lies in the model: `answering` adds it."""

    def answering(self, model: RecModel) -> tuple[RecModel, ServedSection]:
        """Put together what answers: the final model with the baseline of all that it learned from.

        Raises:
            ValueError: If nothing was chosen.
        """
        if self.found is None:
            raise ValueError("no baseline helps the model: it answers alone")
        baseline = self.found.baseline
        section = ServedSection(
            variant="tuned", share=self.found.share, baseline=baseline.name, settings=dict(baseline.settings)
        )
        return self._model(model, self.found, self._prepared.protocol.learned), section

    def _model(self, model: RecModel, found: ServedShare, learned: Interactions) -> RecModel:
        """Return the blend as a model; the head's own scale is taken out of the baseline's weight."""
        vocabulary = self._prepared.vocabulary
        weight = found.share * found.scale / _slope(model.heads[self._head], model.device)
        signal: ServedBaseline | ServedNeighbours
        if found.baseline.name != POPULARITY:
            options = NeighbourOptions.model_validate(dict(found.baseline.settings))
            signal = ServedNeighbours.of(neighbour_counts(learned, vocabulary.num_items), options, weight)
        else:
            counts = learned.counts_by_item(vocabulary.num_items).astype(np.float64)
            counts[0] = 0.0
            users, items = vocabulary.num_users, vocabulary.num_items
            alone = Factors(0.0, np.zeros((users, 0)), np.zeros((items, 0)), np.zeros(users), counts)
            signal = ServedBaseline.of(alone, weight, 0.0)
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

    def _best(self, outcomes: dict[tuple[int, float], Ranks], sample: Interactions) -> tuple[int, float]:
        figures = {key: self._measure.report(one, sample)[self._metric] for key, one in outcomes.items()}
        best = next(iter(figures))
        for key, figure in figures.items():
            if better(self._metric, figure, figures[best]):
                best = key
        return best

    def _difference(self, first: Ranks, second: Ranks, sample: Interactions) -> tuple[float, float, float, float]:
        """Return the gain of one outcome over another, its 95 % interval over users, and its standard error."""
        figures = [self._measure.weighted(self._metric, one, sample) for one in (first, second)]
        people = sample.user if sample.person is None else sample.person
        found = paired_interval(figures[0], figures[1], people, RESAMPLES)
        return found.difference, found.low, found.high, (found.high - found.low) / WIDTH


_ALONE = (-1, 0.0)


def serves_blend(prepared: Prepared) -> bool:
    """Return whether a baseline may answer beside the tuned model of a ranking."""
    recipe = prepared.recipe
    reads = recipe.reads
    return (
        recipe.evaluation.blend
        and recipe.training.choice == "auto"
        and reads.primary.task == "ranking"
        and len(reads.heads) == 1
        and not (reads.prompt or reads.inserts_tokens or reads.user_text_by_example)
        and recipe.data.protocol != "prequential"
        and NAME not in recipe.signals.active
        and len(prepared.valid) > 0
    )


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


def _slope(head: TaskHead[Any], device: torch.device) -> float:
    """Return what one added to an offset adds to a head's score."""
    with torch.no_grad():
        nobody = torch.zeros(1, dtype=torch.int64, device=device)
        nothing, one = (Joined(None, torch.full((1,), value, device=device)) for value in (0.0, 1.0))
        batch = Batch(user=nobody, item=nobody)
        return float(head.raw(batch, nothing, one) - head.raw(batch, nothing, nothing))


def _given(scores: torch.Tensor, rows: NDArray[np.int64]) -> torch.Tensor:
    return scores
