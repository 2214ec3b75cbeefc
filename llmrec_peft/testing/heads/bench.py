"""HeadBench: one head over made-up examples, in every mode that it declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from llmrec_peft.data.batches import Batch
from llmrec_peft.heads.contract import HeadContext, HeadOutput, Joined, TaskHead

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmrec_peft.options import Options

Mode = Literal["pairs", "candidates"]
SEED = 7
DIM, WIDTH = 16, 12
"""Width of user and item vectors, and of prompts: different, so that they cannot be confused."""
EXAMPLES, CANDIDATES = 12, 9
SPANS: dict[str, tuple[float, float]] = {"rating": (1.0, 5.0), "click": (0.0, 1.0), "ranking": (0.0, 1.0)}
"""Lowest and highest label of each task."""
ENCODER, DECODER = "prompts of an encoder", "prompts of a decoder"


@dataclass
class Inputs:
    """Inputs of a head.

    Attributes:
        batch: Examples.
        user: Users' side.
        item: Items' side: of the examples, or of the candidates.
    """

    batch: Batch
    user: Joined
    item: Joined

    def to(self, head: TaskHead[Any]) -> HeadOutput:
        """Return the head's output for these inputs."""
        return head.forward(self.batch, self.user, self.item)


def settings_of(head: TaskHead[Any]) -> tuple[str, ...]:
    """Return the settings of a head: prompts of both kinds of language model, if it reads prompts."""
    return (ENCODER, DECODER) if head.reads_prompt() else ("",)


def labels_of(task: str, count: int) -> NDArray[np.float32]:
    """Return labels of a task; the first few contain every kind."""
    if task == "rating":
        return (1.0 + np.arange(count) % 5).astype(np.float32)
    if task == "click":
        return (np.arange(count) % 2).astype(np.float32)
    return np.ones(count, np.float32)


class HeadBench:
    """Makes heads of one class with one set of options, and their inputs."""

    def __init__(self, head: type[TaskHead[Any]], config: Options, setting: str = "") -> None:
        """Set the class, its options, and whose prompts are read, if any."""
        self.head_class, self.config, self.setting = head, config, setting
        self.task: str = head.task
        self.span = SPANS[head.task]
        self.reads_prompt = bool(setting)
        self.modes: tuple[Mode, ...] = ("pairs",) if self.reads_prompt else ("pairs", "candidates")
        self.labelled_modes: tuple[Mode, ...] = self.modes if head.listwise else ("pairs",)
        """Modes in which labels may come; candidates have some for listwise heads alone."""
        self.trained_mode: Mode = "candidates" if head.listwise else "pairs"
        """Mode in which it has a loss."""

    def context(self) -> HeadContext:
        """Return the context of a head that is built to be trained."""
        labels = labels_of(self.task, 60)
        generator = torch.Generator().manual_seed(SEED)
        decodes = self.setting == DECODER
        return HeadContext(
            dim=DIM,
            label_mean=float(labels.mean()),
            label_range=self.span,
            text_width=WIDTH if self.reads_prompt else None,
            decodes=decodes,
            yes_no=torch.randn(2, WIDTH, generator=generator) if decodes else None,
            labels=labels,
        )

    def fresh(self, seed: int = SEED) -> TaskHead[Any]:
        """Make a head to be trained, in evaluation mode."""
        return self._built(self.context(), seed)

    def empty(self, saved: Mapping[str, Tensor]) -> TaskHead[Any]:
        """Make a head to be loaded, as for a run folder, without knowledge of its training data."""
        width = WIDTH if self.reads_prompt else None
        blank = HeadContext(DIM, 0.0, (0.0, 0.0), text_width=width, decodes=self.setting == DECODER)
        return self._built(blank, SEED + 1)

    def _built(self, context: HeadContext, seed: int) -> TaskHead[Any]:
        torch.manual_seed(seed)
        head = self.head_class(self.config)
        head.parts = head.build(context)
        head.parts.eval()
        return head

    def moved(self, seed: int = SEED) -> TaskHead[Any]:
        """Make a head with trained parameters away from their initial values."""
        head = self.fresh(seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in trained(head).values():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        return head

    def inputs(self, mode: Mode, labelled: bool = True, count: int = EXAMPLES, seed: int = SEED) -> Inputs:
        """Draw random vectors, offsets and prompts of some examples.

        Args:
            mode: Whether items are those of the examples, or shared candidates.
            labelled: Whether labels (and for candidates the targets) are included.
            count: Number of examples.
            seed: Seed of the draws.
        """
        generator = torch.Generator().manual_seed(seed)

        def drawn(*shape: int) -> Tensor:
            return 0.5 * torch.randn(*shape, generator=generator)

        listwise = mode == "candidates"
        rows = CANDIDATES if listwise else count
        target = torch.arange(count) % CANDIDATES
        candidates = 1 + 2 * torch.arange(CANDIDATES)
        user, item = Joined(drawn(count, DIM), _levels(count)), Joined(drawn(rows, DIM), drawn(rows))
        prompts, cross, log_q = drawn(count, WIDTH), drawn(count, rows), -drawn(CANDIDATES).abs()
        batch = Batch(
            user=1 + torch.arange(count),
            item=candidates[target] if listwise else 1 + torch.arange(count),
            label=torch.from_numpy(labels_of(self.task, count)) if labelled else None,
            vectors={"prompt": prompts} if self.reads_prompt else {},
            example=torch.arange(count),
            candidates=candidates if listwise else None,
            target=target if listwise and labelled else None,
            log_q=log_q if listwise and labelled else None,
        )
        return Inputs(batch, user, Joined(item.vector, item.offset, cross) if listwise else item)


def _levels(count: int) -> Tensor:
    """Return offsets of users, all different."""
    return 0.1 * (torch.arange(count) % 7 - 3.0)


def trained(head: TaskHead[Any]) -> dict[str, torch.nn.Parameter]:
    """Return parameters of a head that require a gradient, by name."""
    return {name: parameter for name, parameter in head.parts.named_parameters() if parameter.requires_grad}


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> bool:
    """Return whether values are equal up to rounding."""
    return actual.shape == expected.shape and bool(
        ((actual - expected).abs() <= tolerance * (1.0 + expected.abs())).all()
    )
