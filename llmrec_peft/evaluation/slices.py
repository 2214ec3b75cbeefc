"""Slices: metrics by the items' number of training interactions, and by the owner's groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.measures import Measure
from llmrec_peft.evaluation.outcomes import Outcome

BOUNDS: dict[str, tuple[int, float]] = {
    "items_with_0_ratings": (0, 0),
    "items_with_1_to_5_ratings": (1, 5),
    "items_with_over_5_ratings": (6, np.inf),
}
"""Lowest and highest number of training interactions of a slice's items."""


def slices(
    outcomes: Mapping[str, Outcome],
    part: Interactions,
    measure: Measure,
    training_count: NDArray[np.int64],
    kinds: Sequence[str] | None = None,
) -> dict[str, dict[str, object]]:
    """Compute each model's metrics on each slice.

    Args:
        outcomes: Predictions of each model for the part.
        part: Examples.
        measure: Metrics of the task.
        training_count: Training interactions of each item index.
        kinds: The owner's group of each example, [n]; None if there are none.

    Returns:
        For each slice ``n``, the number of examples, and each model's metrics; no metrics if the slice is empty.
    """
    count = training_count[part.item]
    inside = {name: (count >= low) & (count <= high) for name, (low, high) in BOUNDS.items()}
    if kinds is not None:
        named = np.asarray(kinds)
        inside |= {f"owner_calls_{kind}": named == kind for kind in np.unique(named).tolist() if kind}
    report: dict[str, dict[str, object]] = {}
    for name, chosen in inside.items():
        report[name] = {"n": int(chosen.sum())}
        if chosen.any():
            rows = np.flatnonzero(chosen)
            some = part.take(rows)
            for model, outcome in outcomes.items():
                report[name][model] = measure.report(measure.take(outcome, rows), some)
    return report
