"""Paired intervals: they cover, are antisymmetric, and widen where errors are clustered."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec_peft.evaluation.intervals import PairedInterval, paired_rmse_interval
from llmrec_peft.evaluation.metrics import rmse


def clustered(seed: int, clusters: int = 40, size: int = 25, shared: float = 1.0) -> tuple[np.ndarray, ...]:
    """Predictions of two equally good models whose errors are partly shared within a cluster."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), size)
    observed = rng.integers(1, 6, clusters * size).astype(float)
    first, second = (
        observed + rng.normal(0, shared, clusters)[cluster] + rng.normal(0, 0.5, clusters * size) for _ in range(2)
    )
    return first, second, observed, cluster


def width(interval: PairedInterval) -> float:
    return interval.high - interval.low


def test_difference_is_that_of_the_two_figures() -> None:
    first, second, observed, cluster = clustered(0)
    found = paired_rmse_interval(first, second, observed, cluster, 200)
    assert found.difference == pytest.approx(rmse(first, observed) - rmse(second, observed))
    assert found.low < found.difference < found.high
    assert found.clusters == 40


def test_interval_is_antisymmetric_and_repeats_with_its_seed() -> None:
    first, second, observed, cluster = clustered(1)
    one = paired_rmse_interval(first, second, observed, cluster, 300, seed=5)
    other = paired_rmse_interval(second, first, observed, cluster, 300, seed=5)
    assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))
    assert paired_rmse_interval(first, second, observed, cluster, 300, seed=5) == one
    assert paired_rmse_interval(first, second, observed, cluster, 300, seed=6) != one


def test_cluster_names_do_not_matter() -> None:
    first, second, observed, cluster = clustered(2)
    named = paired_rmse_interval(first, second, observed, cluster * 1000 + 7, 100)
    assert named == paired_rmse_interval(first, second, observed, cluster, 100)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = 0.0  # both models have the same expected error
    hits = sum(
        found.low <= truth <= found.high
        for found in (paired_rmse_interval(*clustered(seed), 300, seed=seed) for seed in range(200))
    )
    assert 0.88 <= hits / 200 <= 0.99


def test_resampling_ratings_one_by_one_promises_too_much_where_errors_are_clustered() -> None:
    for seed in range(5):
        first, second, observed, cluster = clustered(seed)
        whole = paired_rmse_interval(first, second, observed, cluster, 400)
        single = paired_rmse_interval(first, second, observed, np.arange(len(cluster)), 400)
        assert width(whole) > 1.5 * width(single)
        first, second, observed, cluster = clustered(seed, shared=0.0)
        whole = paired_rmse_interval(first, second, observed, cluster, 400)
        single = paired_rmse_interval(first, second, observed, np.arange(len(cluster)), 400)
        assert width(whole) == pytest.approx(width(single), rel=0.5)


def test_pairing_narrows_the_interval_of_models_that_err_alike() -> None:
    first, other, observed, cluster = clustered(3)
    alike = first + 0.01
    assert width(paired_rmse_interval(first, alike, observed, cluster, 200)) < 0.2 * width(
        paired_rmse_interval(first, other, observed, cluster, 200)
    )


def test_interval_of_a_clearly_better_model_excludes_zero() -> None:
    first, _, observed, cluster = clustered(4)
    better = paired_rmse_interval(observed + 0.1, first, observed, cluster, 200)
    assert better.high < 0
    assert better.excludes_zero
    assert better.plain()["excludes_zero"] is True
    same = paired_rmse_interval(first, first, observed, cluster, 200)
    assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0)
    assert not same.excludes_zero
