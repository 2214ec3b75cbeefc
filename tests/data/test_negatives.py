"""CandidateSampler: targets among candidates, draws of seed, epoch and step, and a log q that simulation confirms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.data.batches import Batch, BatchOrder
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.negatives import CandidateSampler, Negatives

ITEMS, ROWS, BATCH = 40, 400, 16
KINDS = ("in-batch", "uniform", "popularity")


def train(seed: int = 0) -> Interactions:
    """Interactions of very unequally popular items; items 36 to 39 have none."""
    rng = np.random.default_rng(seed)
    share = 1.0 / np.arange(1, 36)
    item = rng.choice(np.arange(1, 36), ROWS, p=share / share.sum())
    return Interactions(rng.integers(1, 30, ROWS), item, np.ones(ROWS, np.float32), np.arange(ROWS))


def sampler(kind: str, count: int = 0, hard: int = 0, seed: int = 0, **further: Any) -> CandidateSampler:
    return CandidateSampler(Negatives(kind, count, hard), train(), ITEMS, seed, **further)  # type: ignore[arg-type]


def batch_of(rows: np.ndarray) -> Batch:
    return Batch.of(train(), rows, torch.device("cpu"))


def added(by: CandidateSampler, batch: Batch, epoch: int = 0, step: int = 1, **further: Any) -> Batch:
    by.add(batch, epoch, step, **further)
    assert batch.candidates is not None
    assert batch.target is not None
    return batch


@pytest.mark.parametrize("kind", ["catalogue", *KINDS])
def test_every_target_is_the_examples_own_item_among_sorted_distinct_candidates(kind: str) -> None:
    by = sampler(kind, 0 if kind in ("catalogue", "in-batch") else 12)
    rng = np.random.default_rng(1)
    for step in range(50):
        batch = added(by, batch_of(rng.integers(0, ROWS, BATCH)), step=step)
        found = batch.candidates.numpy()  # type: ignore[union-attr]
        assert np.all(np.diff(found) > 0)
        assert found.min() >= 1, "the unknown item is nobody's negative"
        assert found.max() < ITEMS
        torch.testing.assert_close(batch.candidates[batch.target], batch.item)  # type: ignore[index]
        if kind == "in-batch":
            assert set(found.tolist()) == set(batch.item.tolist())
        elif kind == "catalogue":
            assert found.tolist() == list(range(1, ITEMS))
            assert batch.log_q is None
        else:
            assert len(found) > len(set(batch.item.tolist()))


@pytest.mark.parametrize("kind", ["uniform", "popularity"])
def test_draws_depend_on_seed_epoch_and_step_alone(kind: str) -> None:
    item = np.arange(1, 5)

    def drawn(seed: int = 0, epoch: int = 3, step: int = 7) -> list[int]:
        return sampler(kind, 10, seed=seed).candidates(item, epoch, step).tolist()

    same = sampler(kind, 10)
    first = same.candidates(item, 3, 7).tolist()
    assert same.candidates(item, 3, 7).tolist() == first == drawn(), "drawing leaves no state behind"
    others = [drawn(seed=1), drawn(epoch=4), drawn(step=8)]
    assert all(other != first for other in others)
    assert len({tuple(row) for row in [first, *others]}) == 4


def frequencies(by: CandidateSampler, rows: list[np.ndarray], **further: Any) -> tuple[np.ndarray, np.ndarray]:
    """How often each item was a candidate, and the mean of what q said of it when it was, [ITEMS] each."""
    met, told = np.zeros(ITEMS), np.zeros(ITEMS)
    for step, chosen in enumerate(rows):
        batch = added(by, batch_of(chosen), epoch=step // 100, step=step % 100, **further)
        at = batch.candidates.numpy()  # type: ignore[union-attr]
        met[at] += 1
        told[at] += np.exp(batch.log_q.numpy())  # type: ignore[union-attr]
    return met / len(rows), told / np.maximum(met, 1)


def confirmed(measured: np.ndarray, told: np.ndarray, steps: int) -> None:
    """q is the measured frequency, within five standard errors, of every item that came up often enough to tell."""
    often = measured * steps >= 20
    error = np.sqrt(told * (1.0 - told) / steps)[often]
    assert often.sum() > 20
    assert (np.abs(measured - told)[often] <= 5.0 * error + 1e-3).all(), np.c_[measured, told][often]
    assert told[often].max() > 2 * told[often].min(), "items are not all alike, so this could fail"


@pytest.mark.parametrize(("kind", "count"), [("in-batch", 0), ("uniform", 9), ("popularity", 9)])
def test_log_q_is_the_log_of_how_often_an_item_is_among_the_candidates(kind: str, count: int) -> None:
    rng, steps = np.random.default_rng(2), 4000
    rows = [rng.integers(0, ROWS, BATCH) for _ in range(steps)]
    confirmed(*frequencies(sampler(kind, count), rows), steps)


def test_log_q_in_batches_by_item_knows_that_items_come_up_equally_often() -> None:
    by = sampler("popularity", 9)
    by.batches_are_of(train().item, by_item=True)
    order = BatchOrder(train(), "by-item", 7, seed=0)
    rows = [chosen for epoch in range(700) for chosen in order.epoch(epoch) if len(set(train().item[chosen])) == 7]
    confirmed(*frequencies(by, rows), len(rows))
    alone, told = frequencies(by, rows[:800], own_alone=True)
    met = np.unique(train().item)
    assert told[met] == pytest.approx(7 / len(met), rel=1e-5)
    assert alone[met].mean() == pytest.approx(7 / len(met), rel=1e-5)


def test_own_items_alone_are_candidates_where_that_is_asked_for() -> None:
    for kind in ("catalogue", "uniform"):
        batch = added(sampler(kind, 9), batch_of(np.arange(BATCH)), own_alone=True)
        assert batch.candidates.tolist() == sorted(set(batch.item.tolist()))  # type: ignore[union-attr]
        torch.testing.assert_close(batch.candidates[batch.target], batch.item)  # type: ignore[index]
        assert batch.log_q is not None
    in_batch = added(sampler("in-batch"), batch_of(np.arange(BATCH)))
    torch.testing.assert_close(batch.log_q, in_batch.log_q)


def test_hard_negatives_are_those_named_as_alike() -> None:
    alike = np.zeros((ITEMS, 3), np.int64)
    alike[1:] = (np.arange(1, ITEMS)[:, None] * 5 + np.arange(3)) % (ITEMS - 1) + 1
    alike[7] = [0, 0, 0]  # an item that is like no other
    by = sampler("in-batch", hard=2, alike=alike)
    seen: set[int] = set()
    rows = np.flatnonzero(np.isin(train().item, [2, 7]))[:BATCH]
    assert set(train().item[rows]) == {2, 7}
    for step in range(30):
        found = set(added(by, batch_of(rows), step=step).candidates.tolist())  # type: ignore[union-attr]
        assert {2, 7} <= found <= {2, 7, *alike[2].tolist()}
        seen |= found
    assert seen == {2, 7, *alike[2].tolist()}, "each of them comes up"
    plain = added(sampler("in-batch"), batch_of(rows))
    hard = added(by, batch_of(rows))
    own = hard.log_q[hard.target]  # type: ignore[index]
    torch.testing.assert_close(own, plain.log_q[plain.target], msg="hard ones are not corrected for")  # type: ignore[index]


def test_uniform_draws_reach_items_that_nobody_met_and_popular_ones_never_do() -> None:
    item = np.array([1])
    for kind, reaches in (("uniform", True), ("popularity", False)):
        by = sampler(kind, 20)
        seen = {i for step in range(200) for i in by.candidates(item, 0, step).tolist()}
        assert bool(seen & set(range(36, ITEMS))) is reaches
        assert set(range(1, 20)) <= seen
