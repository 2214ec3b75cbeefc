"""LazyTable: a large table of which a step computes only the rows that it reads, to AdamW's figures over all rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llmrec_peft.signals.parts.row_table import distinct
from llmrec_peft.training.passed_steps import PassedSteps, Rates

if TYPE_CHECKING:
    from llmrec_peft.signals.parts.row_table import RowTable

ROWS = 1 << 16
"""Rows that are brought up to date together when all are."""
MUCH = 0.75
"""Share of the rows above which a table is trained as a whole, if its first step reads as many: it takes less time."""
LONGEST = 4096
"""Steps after which all rows are brought up to date, which bounds what is kept of past steps."""


@dataclass
class LazyTable:
    """AdamW and the moving average of one table, a row at a time: a row waits until a step reads it.

    A row that is not read has no gradient. What the steps that it missed would have done to it is known in one
    formula (`PassedSteps`), so it is done when the row is next read, and for all rows before the table is read as a
    whole. The figures are those of AdamW over all rows, but for rounding.

    Attributes:
        name: Name of the weight in the model.
        table: The table.
        betas: Decays of AdamW's moments.
        eps: AdamW's ε.
        average: Moving average of the weight, float32 [rows, dim]; None for none.
        mean: First moment, float32 [rows, dim].
        square: Second moment, float32 [rows, dim].
        step_of: Step up to which each row is computed, int64 [rows].
        passed: What rows that wait have to make up for.
        whole: Whether the table is trained as a whole after all: its first step read most of the rows.
    """

    name: str
    table: RowTable
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    average: Tensor | None = None
    mean: Tensor = field(init=False)
    square: Tensor = field(init=False)
    step_of: Tensor = field(init=False)
    passed: PassedSteps = field(init=False)
    whole: bool = False
    _reads: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        weight = self.table.weight
        self.mean, self.square = torch.zeros_like(weight.data), torch.zeros_like(weight.data)
        self.step_of = torch.zeros(len(weight), dtype=torch.int64, device=weight.device)
        self.passed = PassedSteps(self.betas, 0, weight.device)

    def set_moments(self, betas: tuple[float, float], eps: float) -> None:
        """Set AdamW's decays and ε, before the first step."""
        self.betas, self.eps = betas, eps
        self.passed = PassedSteps(betas, 0, self.step_of.device)

    def read(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return up-to-date rows that receive the gradient, float32 [n, dim], and the place of each index in them.

        A table that is trained as a whole gives its weight, and None for the place.
        """
        if self.whole:
            return self.table.weight, None
        rows, place = distinct(index, len(self.table.weight))
        self.catch_up(rows)
        values = self.table.weight.detach().index_select(0, rows).requires_grad_(torch.is_grad_enabled())
        if values.requires_grad:
            self._reads.append((rows, values))
        return values, place

    def gradient(self) -> tuple[Tensor, Tensor]:
        """Return the rows that were read since the last call, int64 [n], and their gradients, float32 [n, dim]."""
        reads = [(rows, values.grad) for rows, values in self._reads if values.grad is not None]
        self._reads.clear()
        weight = self.table.weight
        if not reads:
            return self.step_of.new_empty(0), weight.new_empty(0, weight.shape[1])
        if len(reads) == 1:
            return reads[0]
        return merged(torch.cat([rows for rows, _ in reads]), torch.cat([grad for _, grad in reads]), len(weight))

    @torch.no_grad()
    def catch_up(self, rows: Tensor) -> None:
        """Bring rows, int64 [n], up to the newest step."""
        step = self.step_of.index_select(0, rows)
        late = step < self.passed.now
        if not bool(late.any()):
            return
        rows, step = rows[late], step[late]
        decayed, drift, eps, kept, own, moved, moved_eps, first, second = self.passed.since(step)
        weight, mean, square = self._of(rows)
        root = square.sqrt().clamp_(min=1e-30)
        if self.average is not None:
            average = self.average.index_select(0, rows).mul_(kept).addcmul_(own, weight)
            average.sub_(mean.mul(moved).div_(root.add(self.eps * moved_eps)))
            self.average.index_copy_(0, rows, average)
        weight.mul_(decayed).sub_(mean.mul(drift).div_(root.add_(self.eps * eps)))
        self._put(rows, weight, mean.mul_(first), square.mul_(second))

    @torch.no_grad()
    def step(self, rows: Tensor, gradient: Tensor, rates: Rates) -> None:
        """Take a step with the gradients of some distinct rows; those of all others are zero.

        Args:
            rows: Rows, int64 [n].
            gradient: Their gradients, float32 [n, dim].
            rates: Rate, weight decay, and decay of the average.
        """
        self.catch_up(rows)
        self.passed.take(rates)
        weight, mean, square = self._of(rows)
        self._move(weight, mean, square, gradient, rates)
        if self.average is not None:
            average = self.average.index_select(0, rows).lerp_(weight, 1.0 - rates.average)
            self.average.index_copy_(0, rows, average)
        self._put(rows, weight, mean, square)
        self.whole = self.passed.now == 1 and len(rows) > MUCH * len(self.step_of)
        if self.whole or len(self.passed) >= LONGEST:
            self.flush()

    @torch.no_grad()
    def step_whole(self, rates: Rates) -> None:
        """Take a step with the gradient of the weight, over all rows in place."""
        weight = self.table.weight
        if weight.grad is None:
            return
        self.passed = PassedSteps(self.betas, self.passed.now + 1, self.step_of.device)
        self._move(weight, self.mean, self.square, weight.grad, rates)
        if self.average is not None:
            self.average.lerp_(weight, 1.0 - rates.average)
        self.step_of.fill_(self.passed.now)
        weight.grad = None

    def _move(self, weight: Tensor, mean: Tensor, square: Tensor, gradient: Tensor, rates: Rates) -> None:
        """Change rows and their moments in place as AdamW does."""
        (first, second), now = self.betas, self.passed.now
        mean.lerp_(gradient, 1.0 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
        root = square.sqrt().div_((1.0 - second**now) ** 0.5).add_(self.eps)
        weight.mul_(1.0 - rates.rate * rates.decay).addcdiv_(mean, root, value=-rates.rate / (1.0 - first**now))

    def _of(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return copies of rows of the weight and of both moments, each float32 [n, dim]."""
        weight, mean, square = (t.index_select(0, rows) for t in (self.table.weight, self.mean, self.square))
        return weight, mean, square

    def _put(self, rows: Tensor, weight: Tensor, mean: Tensor, square: Tensor) -> None:
        """Store rows that are computed up to the newest step."""
        for whole, part in ((self.table.weight, weight), (self.mean, mean), (self.square, square)):
            whole.index_copy_(0, rows, part)
        self.step_of.index_fill_(0, rows, self.passed.now)

    def flush(self) -> None:
        """Bring all rows up to the newest step."""
        for rows in torch.split(torch.arange(len(self.step_of), device=self.step_of.device), ROWS):
            self.catch_up(rows)
        self.passed = PassedSteps(self.betas, self.passed.now, self.step_of.device)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs beside weight and average."""
        taken = [[rates.rate, rates.decay, rates.average] for rates in self.passed.taken]
        return {
            "mean": self.mean,
            "square": self.square,
            "step_of": self.step_of,
            "first": torch.tensor([self.passed.first]),
            "whole": torch.tensor([self.whole]),
            "taken": torch.tensor(taken, dtype=torch.float64).reshape(-1, 3),
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Load the result of `state`; the steps that rows wait for are added up again, to the last bit."""
        for name in ("mean", "square", "step_of"):
            getattr(self, name).copy_(state[name])
        self.whole = bool(state["whole"])
        self.passed = PassedSteps(self.betas, int(state["first"]), self.step_of.device)
        for rate, decay, average in state["taken"].tolist():
            self.passed.take(Rates(rate, decay, average))


def merged(rows: Tensor, gradient: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the distinct rows, sorted, and the sums of their gradients.

    Args:
        rows: Rows, int64 [n], in which some may be repeated.
        gradient: Their gradients, float32 [n, dim].
        count: Rows of the table.
    """
    found, place = distinct(rows, count)
    return found, gradient.new_zeros(len(found), gradient.shape[1]).index_add_(0, place, gradient)
