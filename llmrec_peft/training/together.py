"""Together: what several processes that train one model exchange, so that they take the steps of one process.

Each process reads its own part of a batch. Its loss is weighed by its share of the examples, and the gradients are
added up: the sum is the gradient of the mean over the whole batch, as one process computes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate.utils import broadcast, broadcast_object_list
from torch import Tensor

from llmrec_peft.training.lazy_table import merged

if TYPE_CHECKING:
    from accelerate import Accelerator
    from numpy.typing import NDArray


class Together:
    """The processes of one training; a single one exchanges nothing."""

    def __init__(self, accelerator: Accelerator) -> None:
        """Take part.

        Args:
            accelerator: Device and processes.
        """
        self._accelerator = accelerator
        self.rank: int = accelerator.process_index
        self.world: int = accelerator.num_processes

    @property
    def alone(self) -> bool:
        """Whether there is one process."""
        return self.world == 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def part(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
        """Return this process's examples of a batch, and their share of it.

        Neighbours stay together, so that each text of a batch by item is encoded by one process. A process that is
        left without an example reads one whose share is 0: all take part in every exchange.

        Args:
            rows: Examples of the whole batch, int64 [B].
        """
        own = np.array_split(rows, self.world)[self.rank]
        return (own, len(own) / len(rows)) if len(own) else (rows[:1], 0.0)

    def add_loss(self, loss: Tensor, share: float) -> float:
        """Return the loss of the whole batch, the same in all processes."""
        if self.alone:
            return float(loss.item())
        total: Tensor = self._accelerator.reduce(loss.detach().double() * share, "sum")
        return float(total.item())

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place; one that no process has stays None."""
        if self.alone:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if not trained:
            return
        device = trained[0].device
        mine = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int32, device=device)
        given = self._accelerator.reduce(mine, "sum").tolist()
        taking = [parameter for parameter, count in zip(trained, given, strict=True) if count]
        for parameter in taking:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        whole = self._accelerator.reduce(torch.cat([_grad(p).float().reshape(-1) for p in taking]), "sum")
        for parameter, part in zip(taking, whole.split([p.numel() for p in taking]), strict=True):
            _grad(parameter).copy_(part.view_as(parameter))

    def add_rows(self, rows: Tensor, gradient: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the rows that any process has read, int64 [n], and the sums of their gradients, float32 [n, dim].

        Args:
            rows: Rows that this process has read, int64 [m].
            gradient: Their gradients, float32 [m, dim].
            count: Rows of the table.
        """
        padded = self._accelerator.pad_across_processes(rows, dim=0, pad_index=-1)
        if not len(padded):
            return rows, gradient
        every = self._accelerator.gather(padded)
        gradients = self._accelerator.gather(self._accelerator.pad_across_processes(gradient, dim=0))
        there = every >= 0
        return merged(every[there], gradients[there], count)

    def agree(self, figure: float) -> float:
        """Return the first process's figure, so that all choose and stop alike."""
        if self.alone:
            return figure
        return float(broadcast_object_list([figure])[0])

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Copy the first process's tensors into those of the others, in place."""
        if not self.alone:
            for tensor in tensors:
                tensor.copy_(broadcast(tensor))

    def wait(self) -> None:
        """Wait for all processes."""
        if not self.alone:
            self._accelerator.wait_for_everyone()


def _grad(parameter: torch.nn.Parameter) -> Tensor:
    """Return a gradient that is there."""
    if parameter.grad is None:
        raise ValueError("the parameter has no gradient")
    return parameter.grad
