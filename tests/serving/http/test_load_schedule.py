"""The schedule of a load test: open loop, seeded, Zipf over tenants, bounded."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from llmrec_peft.serving.http.load_test.load_schedule import Schedule


def test_the_same_seed_gives_the_same_requests() -> None:
    one, same, other = (list(Schedule(100, 5, None, 10, 50, seed=seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert [due.at for due in one] == sorted(due.at for due in one)


def test_gaps_are_exponential_or_equal() -> None:
    at = np.array([due.at for due in Schedule(100, None, 20_000)])
    gaps = np.diff(at)
    assert gaps.mean() == pytest.approx(0.01, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)
    even = np.array([due.at for due in Schedule(100, None, 10_000, even=True)])
    assert np.allclose(np.diff(even), 0.01)


@pytest.mark.parametrize("zipf", [0.0, 1.0, 1.5])
def test_tenants_are_asked_by_zipfs_law(zipf: float) -> None:
    schedule = Schedule(1000, None, 50_000, tenants=20, zipf=zipf)
    counted = np.bincount([due.tenant for due in schedule], minlength=20) / 50_000
    expected = np.arange(1, 21.0) ** -zipf
    assert np.abs(counted - expected / expected.sum()).max() < 0.008


def test_requests_end_with_their_number_or_their_time() -> None:
    assert sum(1 for _ in Schedule(100, None, 12_345)) == 12_345
    assert max(due.at for due in Schedule(100, 3.0, None)) <= 3.0
    first = list(itertools.islice(Schedule(100, None, None, 3, 7), 10_000))
    assert {due.tenant for due in first} == {0, 1, 2}
    assert {due.user for due in first} == set(range(7))
