"""Contract of a task head: from joined vectors and offsets to loss and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from llmrec_peft.data.batches import Batch
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

C = TypeVar("C", bound=Options)


@dataclass(frozen=True)
class HeadContext:
    """What a head may know when it is built.

    Attributes:
        dim: Width of user and item vectors.
        label_mean: Mean label of the training interactions.
        label_range: Lowest and highest label of the owner's scale.
    """

    dim: int
    label_mean: float
    label_range: tuple[float, float]


@dataclass
class HeadOutput:
    """What a head says of a batch.

    Attributes:
        loss: Scalar to minimise; None without labels.
        scores: float32 [B], in the label's unit.
    """

    loss: Tensor | None
    scores: Tensor


@dataclass
class Joined:
    """One side's vectors, joined over the signals.

    Attributes:
        vector: float32 [B, dim]; None where no signal speaks of this side.
        offset: What signals add to the score by themselves, float32 [B]; zero on the user's side.
    """

    vector: Tensor | None
    offset: Tensor


class TaskHead(ABC, Generic[C]):
    """One task. A head is one file: its options, this class, and one entry-point line."""

    summary: ClassVar[str]
    """One line for `llmrec list`."""
    Config: ClassVar[type[Options]]
    """The head's options."""
    views: ClassVar[tuple[str, ...]] = ("item",)
    """Text views that it reads."""
    metric: ClassVar[str]
    """Primary metric, by which epochs are chosen."""
    lower_is_better: ClassVar[bool]
    """Direction of the primary metric."""

    def __init__(self, config: C) -> None:
        self.config = config
        self.parts: Any = None
        """The `nn.ModuleDict` that `build` made, set by who calls it; loosely typed, since parts differ."""

    @abstractmethod
    def build(self, context: HeadContext) -> nn.ModuleDict:
        """Make the parts that are trained."""

    @abstractmethod
    def forward(self, batch: Batch, user: Joined, item: Joined) -> HeadOutput:
        """Loss and scores of a batch."""
