"""Slices: figures apart for items that training knows well, hardly, or not at all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.evaluation.metrics import rating_report

BOUNDS: dict[str, tuple[int, float]] = {
    "items_with_0_ratings": (0, 0),
    "items_with_1_to_5_ratings": (1, 5),
    "items_with_over_5_ratings": (6, np.inf),
}
"""Lowest and highest number of training ratings of a slice's items."""


def item_slices(
    predictions: Mapping[str, NDArray[np.floating]],
    observed: NDArray[np.floating],
    item: NDArray[np.int64],
    training_count: NDArray[np.int64],
) -> dict[str, dict[str, object]]:
    """Figures of each model on each slice.

    Args:
        predictions: Predictions [n] by model name.
        observed: Ratings [n].
        item: Item indices [n].
        training_count: Training ratings of each item index.

    Returns:
        For each slice ``n``, the number of ratings, and for each model its figures; no figures where the
        slice is empty.
    """
    count = training_count[item]
    report: dict[str, dict[str, object]] = {}
    for name, (low, high) in BOUNDS.items():
        inside = (count >= low) & (count <= high)
        report[name] = {"n": int(inside.sum())}
        if inside.any():
            for model, predicted in predictions.items():
                report[name][model] = rating_report(predicted[inside], observed[inside])
    return report
