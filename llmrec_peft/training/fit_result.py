"""FitResult: what one fit reached, and what it took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FitResult:
    """Result of a fit.

    Attributes:
        best_epoch: Epochs trained when validation was best; all of them without validation.
        best: Validation figure then; None without validation.
        history: Validation figure after each epoch.
        seconds: Fitting time, over all interruptions.
        peak_rss_mb: Highest resident memory, over all interruptions.
        epoch_seconds: Fitting time when each epoch ended, its validation included.
        epoch_tokens: Tokens of texts that the adapter had been trained on by then.
    """

    best_epoch: int
    best: float | None
    history: tuple[float, ...]
    seconds: float
    peak_rss_mb: float
    epoch_seconds: tuple[float, ...] = ()
    epoch_tokens: tuple[int, ...] = ()
