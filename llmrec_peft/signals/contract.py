"""Contract of a signal: vectors of users and items, and what it adds to a score by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.graph import Neighbours
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

C = TypeVar("C", bound=Options)


@dataclass(frozen=True)
class SignalContext:
    """What a signal may know when it is built.

    Attributes:
        num_users: Rows of a user table; row 0 is for unknown users.
        num_items: Rows of an item table; row 0 is for unknown items.
        dim: Width of the vectors that signals hand over.
        train: Interactions that are trained on; None when a trained signal is built to be loaded.
        text: Vectors of all items' texts from the untuned model, float32 [num_items, width].
        neighbours: Knowledge graph around the items, if any.
        saved: Tensors of the trained signal where it is built to be loaded: they tell the tables' sizes.
    """

    num_users: int
    num_items: int
    dim: int
    train: Interactions | None
    text: Tensor | None
    neighbours: Neighbours | None
    saved: Mapping[str, Tensor] | None = None


class Signal(ABC, Generic[C]):
    """One source of knowledge about users and items.

    A signal is one file: its options, this class, and one entry-point line. `build` makes its trained
    parts; `user`, `item` and `offset` read them for a batch. Tables (`nn.Embedding`) are trained with the
    rate of embeddings, everything else with that of the head. Torch is imported inside functions.
    """

    summary: ClassVar[str]
    """One line for `llmrec list`."""
    Config: ClassVar[type[Options]]
    """The signal's options."""
    reads_text: ClassVar[bool] = False
    """Whether `Batch.item_text` has to be there."""
    reads_graph: ClassVar[bool] = False
    """Whether it is of use only beside a knowledge graph."""

    def __init__(self, config: C) -> None:
        self.config = config
        self.parts: Any = None
        """The `nn.ModuleDict` that `build` made, set by who calls it; loosely typed, since parts differ."""

    @abstractmethod
    def build(self, context: SignalContext) -> nn.ModuleDict:
        """Make the parts that are trained."""

    def user(self, batch: Batch) -> Tensor | None:
        """Vectors of the batch's users, float32 [B, dim], or None."""
        return None

    def item(self, batch: Batch) -> Tensor | None:
        """Vectors of the batch's items, float32 [B, dim], or None."""
        return None

    def offset(self, batch: Batch) -> Tensor | None:
        """What the signal adds to each score by itself, float32 [B], or None."""
        return None

    def fold(self) -> None:
        """Replace what depends on single training interactions by plain tables.

        Called once after training, so that a published artifact holds no interaction and needs none.
        """
