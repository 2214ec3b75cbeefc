"""Lazy tables: a step computes the rows that it reads, to AdamW's figures over all rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.signals.parts.row_table import RowTable, distinct
from llmrec_peft.training import lazy_table, lazy_tables
from llmrec_peft.training.lazy_table import LazyTable
from llmrec_peft.training.passed_steps import PassedSteps, Rates

ROWS, DIM, DECAY = 300, 4, 3.0


class _Both:
    """The same steps over a table as a whole, by torch's AdamW, and lazily."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        table = RowTable(ROWS, DIM)
        self.whole = table.weight.detach().clone().requires_grad_()
        self.mean_of_whole = self.whole.detach().clone()
        self.lazy = LazyTable("table", table, average=self.whole.detach().clone())
        table.trainer = self.lazy
        self.optimizer = torch.optim.AdamW([self.whole], weight_decay=DECAY)
        self.draws = torch.Generator().manual_seed(1)
        self.done = 0

    def step(self, size: float = 1e-3) -> None:
        self.done += 1
        index = torch.randint(0, ROWS, (12,), generator=self.draws)
        target = torch.randn(12, DIM, generator=self.draws) * size
        rate, decay = 0.01 * (1 - self.done / 500), min(0.99, (1 + self.done) / (10 + self.done))
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        (self.whole[index] * target).sum().backward()
        self.optimizer.step()
        self.mean_of_whole.lerp_(self.whole.detach(), 1.0 - decay)
        table = self.lazy.table
        ((table(index[:6]) * target[:6]).sum() + (table(index[6:]) * target[6:]).sum()).backward()
        self.lazy.step(*self.lazy.gradient(), Rates(rate, DECAY, decay))

    def compare(self, tolerance: float = 1e-6) -> None:
        state, lazy = self.optimizer.state[self.whole], self.lazy
        lazy.flush()
        tight = {"rtol": 0, "atol": tolerance}
        torch.testing.assert_close(lazy.table.weight, self.whole, **tight)
        torch.testing.assert_close(lazy.average, self.mean_of_whole, **tight)
        torch.testing.assert_close(lazy.mean, state["exp_avg"], rtol=1e-4, atol=1e-9)
        torch.testing.assert_close(lazy.square, state["exp_avg_sq"], rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize(("size", "tolerance"), [(1.0, 1e-6), (1e-3, 1e-6), (1e-6, 1e-5)])
def test_lazy_steps_give_the_figures_of_adamw_over_all_rows(size: float, tolerance: float) -> None:
    """Weights are about 1; where gradients are so small that ε counts, its part is exact to the first order."""
    both = _Both()
    for _ in range(300):
        both.step(size)
    waiting = int((both.lazy.step_of < 300).sum())
    assert waiting > ROWS // 2, "most rows wait"
    both.compare(tolerance)
    both.step(size)
    both.compare(tolerance)


def test_rows_are_brought_up_to_date_after_so_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_table, "LONGEST", 40)
    both = _Both()
    for _ in range(81):
        both.step()
    assert len(both.lazy.passed) == 1
    assert int(both.lazy.step_of.min()) == 80
    both.compare()


def test_a_step_writes_the_rows_that_it_reads_alone() -> None:
    both = _Both()
    for _ in range(3):
        both.step()
    before = both.lazy.table.weight.detach().clone()
    touched = both.lazy.step_of == both.lazy.passed.now
    both.step()
    changed = (both.lazy.table.weight.detach() != before).any(1)
    assert 0 < int(changed.sum()) <= 12
    assert bool((both.lazy.step_of[changed] == 4).all())
    assert int((both.lazy.step_of == 0).sum()) > ROWS - 60 and int(touched.sum()) <= 12


def test_state_brings_back_every_bit() -> None:
    straight, begun = _Both(), _Both()
    for _ in range(30):
        straight.step()
        begun.step()
    kept = {name: tensor.clone() for name, tensor in begun.lazy.state().items()}
    resumed = _Both(seed=7)
    with torch.no_grad():
        resumed.lazy.table.weight.copy_(begun.lazy.table.weight)
        resumed.lazy.average.copy_(begun.lazy.average)
    resumed.lazy.load(kept)
    resumed.draws.set_state(begun.draws.get_state())
    resumed.done = begun.done
    for both in (straight, resumed):
        for _ in range(20):
            both.step()
        both.lazy.flush()
    assert torch.equal(straight.lazy.table.weight, resumed.lazy.table.weight)
    assert torch.equal(straight.lazy.average, resumed.lazy.average)


def test_there_is_room_for_any_number_of_steps() -> None:
    passed = PassedSteps((0.9, 0.999), 0, torch.device("cpu"))
    for _ in range(700):
        passed.take(Rates(0.01, 1.0, 0.9))
    decayed, *_ = passed.since(torch.tensor([0, 255, 256, 512, 699]))
    expected = [0.99 ** (700 - step) for step in (0, 255, 256, 512, 699)]
    assert decayed[:, 0].tolist() == pytest.approx(expected, rel=1e-6)


def test_a_table_of_which_a_step_reads_much_is_trained_as_a_whole() -> None:
    torch.manual_seed(0)
    table = RowTable(ROWS, DIM)
    whole = table.weight.detach().clone().requires_grad_()
    lazy = LazyTable("table", table, average=table.weight.detach().clone())
    optimizer, table.trainer = torch.optim.AdamW([whole], lr=0.01, weight_decay=DECAY), lazy
    for number in range(8):
        index, toward = torch.randint(0, ROWS, (900,)), torch.randn(900, DIM)
        optimizer.zero_grad()
        (whole[index] * toward).sum().backward()
        optimizer.step()
        (table(index) * toward).sum().backward()
        rates = Rates(0.01, DECAY, 0.9)
        assert lazy.whole == (number > 0)
        if lazy.whole:
            assert table.read(index)[1] is None
            lazy.step_whole(rates)
        else:
            lazy.step(*lazy.gradient(), rates)
    torch.testing.assert_close(table.weight, whole, rtol=0, atol=1e-6)
    again = LazyTable("table", RowTable(ROWS, DIM))
    again.load(lazy.state())
    assert again.whole and again.passed.now == 8


@pytest.mark.parametrize("rows", [20, 100_000])
def test_distinct_values_and_their_places(rows: int) -> None:
    index = torch.from_numpy(np.random.default_rng(0).integers(0, rows, (9, 7)))
    found, place = distinct(index, rows)
    assert torch.equal(found, torch.unique(index))
    assert torch.equal(found[place], index)


@pytest.mark.trains
@pytest.mark.parametrize("much", [1.0, 0.0], ids=["rows", "as-a-whole-from-the-second-step-on"])
def test_a_fit_with_lazy_tables_gives_the_figures_of_one_without(
    much: float, setting: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = setting(signals__collaborative__user_history="both", training__embeddings__weight_decay=3.0)
    whole = made.fit(tmp_path / "whole")
    monkeypatch.setattr(lazy_tables, "LAZY_FROM", 64)
    monkeypatch.setattr(lazy_table, "MUCH", much)
    lazy = made.fit(tmp_path / "lazy")
    assert lazy.search.history == pytest.approx(whole.search.history, rel=1e-5)
    for name, tensor in whole.model.trained_state().items():
        if "collaborative" in name:
            torch.testing.assert_close(lazy.model.trained_state()[name], tensor, rtol=1e-3, atol=1e-4)
