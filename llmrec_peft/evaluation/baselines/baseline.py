"""Baseline: what a trivial or collaborative rule predicts for validation and test."""

from __future__ import annotations

from dataclasses import dataclass

from llmrec_peft.evaluation.outcomes import Outcome
from llmrec_peft.model.rec_model import ChunkScores


@dataclass(frozen=True)
class Baseline:
    """One baseline with the settings that validation chose.

    Attributes:
        name: Name in reports.
        settings: What was chosen.
        valid: Outcome on the validation part, fitted on the training part.
        test: Outcome on the test part, fitted on training (and validation, where the model is refit).
        scores: How it scores the catalogue for validation and for test examples; None where pairs are scored.
        trivial: Whether it is a simple rule that any model has to beat; else a model of its own.
    """

    name: str
    settings: dict[str, float]
    valid: Outcome
    test: Outcome
    scores: tuple[ChunkScores, ChunkScores] | None = None
    trivial: bool = True
