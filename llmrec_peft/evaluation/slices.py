"""Slices: figures apart for items that training knows well, hardly, or not at all, and for the owner's kinds."""

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
    """Figures of each model on each slice.

    Args:
        outcomes: What each model said of the part.
        part: Examples.
        measure: How they are measured.
        training_count: Training interactions of each item index.
        kinds: What the owner calls each example, [n]; None where he does not.

    Returns:
        For each slice ``n``, the number of examples, and for each model its figures; no figures where the
        slice is empty.
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
