"""Pair blend: with which baseline of pairs, and which share of it, the tuned model of ratings or clicks answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from llmrec_peft.evaluation.baselines.foldable import Foldable, foldable_baselines
from llmrec_peft.evaluation.measures import best_of, better
from llmrec_peft.experiment.blending import WEIGHTS
from llmrec_peft.experiment.pair_answers import (
    Raw,
    beside_baseline,
    calibrate,
    calibrated,
    fit_arguments,
    raw_scores,
    uncalibrated,
)
from llmrec_peft.experiment.served_blend import ServedBlend, ServedShare

if TYPE_CHECKING:
    from llmrec_peft.evaluation.outcomes import Outcome
    from llmrec_peft.experiment.decisions import Validation
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.model import RecModel


class PairBlend(ServedBlend):
    """score = (1 - share) · model + share · baseline, in stars or in log-odds.

    Baselines are the foldable ones, fitted to the training part: each family in the settings in which it alone is best
    on validation, then the family and the share whose blend is best.
    """

    def __init__(self, head: str, prepared: Prepared) -> None:
        """Name what is decided about; see `ServedBlend`."""
        super().__init__(head, prepared)
        self._chosen: tuple[Foldable, Raw] | None = None

    def choose(self, validation: Validation) -> None:
        """Choose baseline and share on the whole validation part, of which the model has learned nothing."""
        own, valid = raw_scores(validation.model, self._prepared.valid, self._head), self._prepared.valid
        families = self._best_of_families()
        figures = {
            (name, share): self._figure(_blended(own, raw, share))
            for name, (_, raw) in families.items()
            for share in WEIGHTS[1:]
        }
        name, share = best_of(figures, self._metric)
        baseline, raw = families[name]
        blend = _blended(own, raw, share)
        answers = [uncalibrated(raw, self._prepared, self._head) for raw in (blend, own)]
        over_model = self._over_model(answers[0], answers[1], valid)
        if over_model.exceeds_error:
            self._chosen = baseline, blend
            self.found = ServedShare(baseline.name, baseline.settings, share, over_model, len(valid))

    def _best_of_families(self) -> dict[str, tuple[Foldable, Raw]]:
        """Return each family in its best settings with its raw scores of validation, by name."""
        best: dict[str, tuple[Foldable, Raw]] = {}
        figures: dict[str, float] = {}
        for baseline, raw in self._predicted():
            figure = self._figure(raw)
            if baseline.name not in best or better(self._metric, figure, figures[baseline.name]):
                best[baseline.name], figures[baseline.name] = (baseline, raw), figure
        return best

    def _predicted(self) -> Iterator[tuple[Foldable, Raw]]:
        valid = self._prepared.valid
        learned = fit_arguments(self._prepared.protocol.train, self._prepared)
        for baseline in foldable_baselines(str(self._prepared.recipe.reads.heads[self._head].task)):
            yield baseline, baseline.fit(*learned).predict(valid.user, valid.item)

    def _figure(self, raw: Raw) -> float:
        answers = uncalibrated(raw, self._prepared, self._head)
        return self._measure.weighted(self._metric, answers, self._prepared.valid)(np.ones(len(raw)))

    def _answering(self, model: RecModel, found: ServedShare) -> tuple[RecModel, Outcome]:
        """Return the blend as a model, the calibrator of clicks fitted to what the blend says of validation."""
        assert self._chosen is not None  # noqa: S101 - chosen together with `found`
        baseline, raw = self._chosen
        both = beside_baseline(model, self._prepared, baseline, found.share)
        calibrate(both, self._prepared, raw, self._prepared.valid)
        return both, calibrated(both, self._prepared, raw)


def _blended(own: Raw, baseline: Raw, share: float) -> Raw:
    return (1.0 - share) * own + share * baseline
