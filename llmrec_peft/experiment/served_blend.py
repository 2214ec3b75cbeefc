"""Served blend: where validation shows that a baseline helps the tuned model, both answer together from one folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmrec_peft.evaluation.intervals import paired_interval
from llmrec_peft.evaluation.measures import LOWER_IS_BETTER
from llmrec_peft.experiment.judge import RESAMPLES, Difference
from llmrec_peft.recipe.sections import ServedSection

if TYPE_CHECKING:
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.evaluation.outcomes import Outcome
    from llmrec_peft.experiment.decisions import Validation
    from llmrec_peft.experiment.fitting import FittedVariant
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.model import RecModel

WIDTH = 3.92
"""Width of a 95 % interval, in standard errors."""


@dataclass(frozen=True)
class ServedShare:
    """What validation chose.

    Attributes:
        baseline: Name of the baseline.
        settings: Its settings.
        share: Its share of the score, above 0, at most 1.
        over_model: How much better than the model alone the blend is on validation; intervals are over users.
        examples: Examples of validation on which it was chosen.
    """

    baseline: str
    settings: Mapping[str, float]
    share: float
    over_model: Difference
    examples: int


class ServedBlend(ABC):
    """A decision of validation: which baseline, with which share, answers beside the tuned model; none if none helps.

    The blend is taken where it is better than the model alone by more than a standard error over users: it answers
    other users of the same items, so items are not drawn anew.

    Attributes:
        found: What was chosen; None where the model answers alone.
    """

    def __init__(self, head: str, prepared: Prepared) -> None:
        """Name what is decided about.

        Args:
            head: Name of the head.
            prepared: Data, and how the head is evaluated on it.
        """
        self._head, self._prepared = head, prepared
        self._metric, self._measure = str(prepared.recipe.reads.heads[head].metric), prepared.measures[head]
        self.found: ServedShare | None = None

    @abstractmethod
    def choose(self, validation: Validation) -> None:
        """Choose baseline and share; nothing in the model changes."""

    def keep(self, model: RecModel) -> None:
        """Leave the model as it is: `answering` adds what was chosen."""
        return

    def answering(self, fitted: FittedVariant) -> tuple[FittedVariant, ServedSection]:
        """Put together what answers: the final model with the baseline of all that it learned from.

        Args:
            fitted: The tuned model; a calibrator of its head is fitted anew, so it has to be reported before.

        Raises:
            ValueError: If nothing was chosen.
        """
        if self.found is None:
            raise ValueError("no baseline helps the model: it answers alone")
        model, valid = self._answering(fitted.model, self.found)
        section = ServedSection(
            variant="tuned",
            share=self.found.share,
            baseline=self.found.baseline,
            settings=dict(self.found.settings),
        )
        return replace(fitted, model=model, valid={self._head: valid}), section

    @abstractmethod
    def _answering(self, model: RecModel, found: ServedShare) -> tuple[RecModel, Outcome]:
        """Return the final model with its share of the baseline, and what the blend predicted for validation."""

    def _over_model(self, blend: Outcome, alone: Outcome, part: Interactions) -> Difference:
        """Compute how much better a blend is than the model alone: whole users, or persons, are resampled."""
        figures = [self._measure.weighted(self._metric, one, part) for one in (blend, alone)]
        people = part.user if part.person is None else part.person
        found = paired_interval(figures[0], figures[1], people, RESAMPLES)
        error = (found.high - found.low) / WIDTH if found.clusters > 1 else float("inf")
        if self._metric in LOWER_IS_BETTER:
            return Difference(-found.difference, error, -found.high, -found.low)
        return Difference(found.difference, error, found.low, found.high)
