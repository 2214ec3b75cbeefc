"""Metrics of predicted ratings, in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.finite import require_finite

Floats = NDArray[np.floating]


def rmse(predicted: Floats, observed: Floats) -> float:
    """Compute the root of the mean squared error.

    Args:
        predicted: [n], n > 0.
        observed: [n].

    Raises:
        NotFiniteError: If a prediction is not finite.
    """
    require_finite(predicted, "predicted ratings")
    difference = np.asarray(predicted, np.float64) - np.asarray(observed, np.float64)
    return float(np.sqrt(np.mean(difference**2)))


def mae(predicted: Floats, observed: Floats) -> float:
    """Compute the mean absolute error.

    Args:
        predicted: [n], n > 0.
        observed: [n].

    Raises:
        NotFiniteError: If a prediction is not finite.
    """
    require_finite(predicted, "predicted ratings")
    return float(np.mean(np.abs(np.asarray(predicted, np.float64) - np.asarray(observed, np.float64))))


RATING_METRICS: dict[str, Callable[[Floats, Floats], float]] = {"rmse": rmse, "mae": mae}
"""Metrics of every rating report."""


def rating_report(predicted: Floats, observed: Floats) -> dict[str, float]:
    """Compute all rating metrics of one prediction."""
    return {name: metric(predicted, observed) for name, metric in RATING_METRICS.items()}
