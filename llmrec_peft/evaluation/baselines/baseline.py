"""A baseline: predictions of a simple rule or collaborative model for validation and test."""

from __future__ import annotations

from dataclasses import dataclass

from llmrec_peft.evaluation.outcomes import Outcome
from llmrec_peft.model.rec_model import ChunkScores


@dataclass(frozen=True)
class Baseline:
    """One baseline with the settings chosen on validation.

    Attributes:
        name: Name in reports.
        settings: The chosen settings.
        valid: Outcome on the validation part, fitted on the training part.
        test: Outcome on the test part, fitted on training (and validation, if the model is refit).
        scores: How it scores the catalogue for validation and for test examples; None if pairs are scored.
        trivial: Whether it is one of the baselines that any model has to beat; otherwise a model of its own.
    """

    name: str
    settings: dict[str, float]
    valid: Outcome
    test: Outcome
    scores: tuple[ChunkScores, ChunkScores] | None = None
    trivial: bool = True
