"""BatchOrder: every interaction once an epoch, as a function of seed and epoch alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec_peft.data.batches import Batch, BatchOrder
from llmrec_peft.data.interactions import Interactions

MODES = ["random", "by-item", "by-user"]
SEEDS = range(2)


def interactions(seed: int, rows: int = 137) -> Interactions:
    rng = np.random.default_rng(seed)
    return Interactions(
        user=rng.integers(1, 20, rows),
        item=rng.integers(1, 25, rows) * 3,
        label=rng.normal(size=rows).astype(np.float32),
        timestamp=np.arange(rows),
    )


def order(data: Interactions, mode: str, seed: int = 0) -> BatchOrder:
    return BatchOrder(data, mode, 16 if mode == "random" else 4, seed)  # type: ignore[arg-type]


def epoch(batches: BatchOrder, number: int, skip: int = 0) -> list[list[int]]:
    return [rows.tolist() for rows in batches.epoch(number, skip)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mode", MODES)
def test_every_row_comes_exactly_once_an_epoch(mode: str, seed: int) -> None:
    batches = order(interactions(seed), mode, seed)
    for number in range(3):
        drawn = epoch(batches, number)
        assert len(drawn) == len(batches)
        assert sorted(row for rows in drawn for row in rows) == list(range(137))


@pytest.mark.parametrize("mode", MODES)
def test_order_depends_on_seed_and_epoch_alone(mode: str) -> None:
    data = interactions(0)
    batches = order(data, mode)
    later = epoch(batches, 5)
    assert epoch(batches, 5) == later, "drawing an epoch leaves no state behind"
    assert epoch(order(data, mode), 5) == later
    assert epoch(batches, 6) != later
    assert epoch(order(data, mode, seed=1), 5) != later


@pytest.mark.parametrize("skip", [0, 1, 3, 6])
@pytest.mark.parametrize("mode", MODES)
def test_skip_equals_dropping_the_first_batches(mode: str, skip: int) -> None:
    batches = order(interactions(2), mode)
    assert epoch(batches, 1, skip) == epoch(batches, 1)[skip:]


def test_skipping_a_whole_epoch_leaves_nothing() -> None:
    for mode in MODES:
        batches = order(interactions(2), mode)
        assert epoch(batches, 0, len(batches)) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("mode", "column"), [("by-item", "item"), ("by-user", "user")])
def test_all_rows_of_an_item_or_user_are_in_one_batch_of_a_few(mode: str, column: str, seed: int) -> None:
    data = interactions(seed)
    values = getattr(data, column)
    home: dict[int, int] = {}
    for number, rows in enumerate(order(data, mode, seed).epoch(0)):
        together = set(values[rows].tolist())
        assert len(together) <= 4
        for one in together:
            assert home.setdefault(one, number) == number
    assert len(home) == len(set(values.tolist()))


def test_random_batches_have_the_size_asked_for_but_the_last() -> None:
    sizes = [len(rows) for rows in order(interactions(0), "random").epoch(0)]
    assert sizes == [16] * 8 + [9]


def test_batch_gathers_the_rows_in_their_order() -> None:
    data = interactions(3)
    batch = Batch.of(data, np.array([5, 2, 5]), torch.device("cpu"))
    assert len(batch) == 3
    assert batch.user.tolist() == data.user[[5, 2, 5]].tolist()
    assert batch.item.tolist() == data.item[[5, 2, 5]].tolist()
    assert batch.label is not None
    assert batch.label.tolist() == data.label[[5, 2, 5]].tolist()
