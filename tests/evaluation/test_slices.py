"""Slices part the examples by how often training saw their item, and by the owner's kinds."""

from __future__ import annotations

import numpy as np

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.click_metrics import click_report
from llmrec_peft.evaluation.measures import measure_of
from llmrec_peft.evaluation.rating_metrics import rating_report
from llmrec_peft.evaluation.slices import slices

COUNTS = np.array([0, 0, 1, 5, 6, 40])
"""Training interactions of each item index."""
RATING = measure_of("rating", lambda label: label, COUNTS)


def part_of(item: np.ndarray, label: np.ndarray) -> Interactions:
    rows = np.arange(len(item))
    return Interactions(user=rows % 7 + 1, item=item, label=label.astype(np.float32), timestamp=rows)


def test_slices_part_ratings_by_how_often_training_saw_their_item() -> None:
    rng = np.random.default_rng(0)
    part, predicted = part_of(rng.integers(1, 6, 200), rng.integers(1, 6, 200)), rng.uniform(1, 5, 200)
    report = slices({"after": predicted}, part, RATING, COUNTS)
    for name, items in {
        "items_with_0_ratings": [1],
        "items_with_1_to_5_ratings": [2, 3],
        "items_with_over_5_ratings": [4, 5],
    }.items():
        inside = np.isin(part.item, items)
        assert report[name]["n"] == inside.sum()
        assert report[name]["after"] == rating_report(predicted[inside], part.label[inside])
    assert sum(int(row["n"]) for row in report.values()) == 200  # type: ignore[call-overload]


def test_empty_slice_has_no_figures() -> None:
    report = slices({"after": np.ones(2)}, part_of(np.array([1, 1]), np.ones(2)), RATING, np.array([0, 9]))
    assert report["items_with_0_ratings"] == {"n": 0}
    assert report["items_with_over_5_ratings"] == {"n": 2, "after": {"rmse": 0.0, "mae": 0.0}}


def test_owners_kinds_are_slices_of_their_own() -> None:
    part, kinds = part_of(np.array([1, 2, 4]), np.array([1, 2, 5])), ["cold", "", "cold"]
    report = slices({"after": np.ones(3)}, part, RATING, COUNTS, kinds)
    assert report["owner_calls_cold"] == {"n": 2, "after": rating_report(np.ones(2), np.array([1, 5]))}
    assert set(report) - {"owner_calls_cold"} == set(slices({}, part, RATING, COUNTS))


def test_a_slice_of_one_class_has_the_figures_that_it_defines() -> None:
    clicks = measure_of("click", lambda label: label, COUNTS)
    part, scores = part_of(np.array([1, 1, 4, 4]), np.array([0, 0, 0, 1])), np.array([0.1, 0.2, 0.3, 0.4])
    report = slices({"after": scores}, part, clicks, COUNTS)
    assert set(report["items_with_0_ratings"]["after"]) == {"log_loss", "ece", "uauc_users_left_out"}
    assert report["items_with_over_5_ratings"]["after"] == click_report(scores[2:], part.label[2:], part.user[2:])
