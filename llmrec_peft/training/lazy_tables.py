"""LazyTables: the large tables of a model, of which a step computes only the rows that it reads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from llmrec_peft.signals.parts.row_table import RowTable
from llmrec_peft.training.lazy_table import LazyTable
from llmrec_peft.training.passed_steps import Rates

if TYPE_CHECKING:
    from torch.optim import AdamW

LAZY_FROM = 1 << 20
"""Numbers in a table from which on it is lazy: a step over all of a smaller one takes a few milliseconds at most."""

Exchange = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""Adds up rows and gradients of several processes: (rows, gradients, rows of the table) to the same of all."""


class LazyTables:
    """The large tables of one training; without any it does nothing."""

    def __init__(self, model: nn.Module) -> None:
        """Find the tables.

        Args:
            model: Model that is trained.
        """
        self.tables = {
            f"{name}.weight": LazyTable(f"{name}.weight", module)
            for name, module in model.named_modules()
            if isinstance(module, RowTable) and module.weight.requires_grad and module.weight.numel() >= LAZY_FROM
        }
        self._groups: dict[str, tuple[AdamW, int]] = {}
        self._found: dict[str, tuple[Tensor, Tensor]] = {}

    def __bool__(self) -> bool:
        return bool(self.tables)

    def follow(self, name: str, optimizer: AdamW, group: int) -> None:
        """Take a table's rate, weight decay, betas and ε from a group of the optimizer, which has a schedule."""
        self._groups[name] = (optimizer, group)  # groups themselves are replaced where an optimizer is loaded
        chosen = optimizer.param_groups[group]
        self.tables[name].set_moments(chosen["betas"], chosen["eps"])

    def average(self, values: Mapping[str, Tensor]) -> None:
        """Keep the tables' moving averages, of all that are given by parameter name."""
        for name, value in values.items():
            if name in self.tables:
                self.tables[name].average = value

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Inside the block rows are read through the tables' trainers in training mode."""
        for table in self.tables.values():
            table.table.trainer = table
        try:
            yield
        finally:
            for table in self.tables.values():
                table.table.trainer = None

    def collect(self, exchange: Exchange | None = None) -> list[Tensor]:
        """Return the gradients of the rows that were read since the last step, which `step` applies.

        They may be changed in place, to clip them. The gradient of a table that is trained as a whole is its weight's.

        Args:
            exchange: Adds up those of several processes; None for one process.
        """
        self._found = {name: table.gradient() for name, table in self.tables.items() if not table.whole}
        if exchange is not None:
            for name, (rows, gradient) in self._found.items():
                self._found[name] = exchange(rows, gradient, len(self.tables[name].step_of))
        return [gradient for _, gradient in self._found.values() if len(gradient)]

    def step(self, average: float) -> None:
        """Take a step with the collected gradients; `average` is the decay of the moving average, 1 for none."""
        for name, table in self.tables.items():
            optimizer, number = self._groups[name]
            group = optimizer.param_groups[number]
            rates = Rates(float(group["lr"]), group["weight_decay"], average)
            if table.whole:
                table.step_whole(rates)
            else:
                table.step(*self._found[name], rates)
        self._found = {}

    def flush(self) -> None:
        """Bring all rows up to date: needed before anything reads a table as a whole."""
        for table in self.tables.values():
            table.flush()

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs beside weights and averages."""
        return {
            f"{name}/{part}": tensor for name, table in self.tables.items() for part, tensor in table.state().items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Load the result of `state`."""
        for name, table in self.tables.items():
            prefix = f"{name}/"
            own = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
            table.load(own)

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor that has to be equal in all processes."""
        for table in self.tables.values():
            yield from (table.table.weight.detach(), table.mean, table.square)
            if table.average is not None:
                yield table.average


def total_norm(gradients: list[Tensor]) -> Tensor | None:
    """Return the norm of all gradients together; None without any."""
    return torch.nn.utils.get_total_norm(gradients) if gradients else None


@torch.no_grad()
def clip(gradients: list[Tensor], norm: Tensor, most: float) -> None:
    """Scale gradients, whose norm is known, to a norm of `most` if it is larger, as `clip_grad_norm_` does."""
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, factor)
