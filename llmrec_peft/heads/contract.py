"""Contract of a task head: from joined vectors and offsets to loss and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.batches import Batch
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.data.negatives import Negatives

C = TypeVar("C", bound=Options)


Task = Literal["rating", "click", "ranking", "writing"]
"""What a head predicts, which determines how it is measured: stars of pairs, clicks of pairs, ranks in the catalogue,
or the likelihood of reviews under a decoder, which is trained separately (`llmrec_peft.writing.train_writer`)."""


@dataclass(frozen=True)
class HeadContext:
    """What a head may read when it is built.

    Attributes:
        dim: Width of user and item vectors.
        label_mean: Mean label of the training interactions.
        label_range: Lowest and highest label of the owner's scale.
        text_width: Width of prompt vectors; None if no prompt is read.
        decodes: Whether prompts are read by a decoder.
        yes_no: Rows of its output embedding for "Yes" and "No", float32 [2, text_width]; None when a trained
            head is built to be loaded.
        labels: Labels of the training interactions, float32 [n]; None when loading.
        saved: Tensors of the trained head when it is built to be loaded; sizes that depend on the model are read from
            them.
    """

    dim: int
    label_mean: float
    label_range: tuple[float, float]
    text_width: int | None = None
    decodes: bool = False
    yes_no: Tensor | None = None
    labels: NDArray[np.float32] | None = None
    saved: Mapping[str, Tensor] | None = None


@dataclass
class HeadOutput:
    """Output of a head for a batch.

    Attributes:
        loss: Scalar to minimise; None without labels.
        scores: float32 [B], in the label's unit, or [B, C] against shared candidates; higher is better.
    """

    loss: Tensor | None
    scores: Tensor


@dataclass
class Joined:
    """One side's vectors, joined over all signals.

    Attributes:
        vector: float32 [rows, dim]; None if no signal has a vector for this side.
        offset: What signals add to the score independently of the product, float32 [rows]; for pairs, all of it
            stands on
            the item's side.
        cross: What signals add for each example with each candidate, float32 [B, C]; for candidates only.
    """

    vector: Tensor | None
    offset: Tensor
    cross: Tensor | None = None


def pair_scores(user: Joined, item: Joined) -> Tensor:
    """Return inner products of rows with equal numbers, plus offsets, [B]."""
    score = user.offset + item.offset
    if user.vector is not None and item.vector is not None:
        score = score + (user.vector * item.vector).sum(-1)
    return score


def matrix_scores(user: Joined, item: Joined) -> Tensor:
    """Return inner products of every user with every item, plus offsets, [B, C]."""
    score = user.offset[:, None] + item.offset[None, :]
    if user.vector is not None and item.vector is not None:
        score = score + user.vector @ item.vector.T
    return score if item.cross is None else score + item.cross


def products(user: Joined, item: Joined, batch: Batch) -> Tensor:
    """Return inner products plus offsets: of pairs, [B], or, if the batch has candidates, of all of them, [B, C]."""
    return pair_scores(user, item) if batch.candidates is None else matrix_scores(user, item)


class TaskHead(ABC, Generic[C]):
    """One task. A head is one file: its options, this class, and one entry-point line."""

    summary: ClassVar[str]
    """One line for `llmrec list`."""
    Config: ClassVar[type[Options]]
    """The head's options."""
    task: ClassVar[Task] = "rating"
    """Determines metrics and baselines."""
    views: ClassVar[tuple[str, ...]] = ("item",)
    """Text views that it reads."""
    metric: str
    """Primary metric, by which the best epoch is chosen; the class has one, an object may have another."""
    lower_is_better: ClassVar[bool]
    """Direction of the primary metric."""
    listwise: ClassVar[bool] = False
    """Whether it is trained on `Batch.candidates` and scores all of them at once."""
    unit: ClassVar[str] = "score"
    """Unit of `raw`."""
    tried_with: ClassVar[Mapping[str, Any]] = {}
    """Options with which the conformance suite tests it, if the defaults leave out what it needs."""

    def __init__(self, config: C) -> None:
        self.config = config
        self.parts: Any = None
        """The `nn.ModuleDict` that `build` made, set by the caller; loosely typed, since parts differ."""

    @abstractmethod
    def build(self, context: HeadContext) -> nn.ModuleDict:
        """Make the trained parts."""

    @abstractmethod
    def forward(self, batch: Batch, user: Joined, item: Joined) -> HeadOutput:
        """Compute loss and scores of a batch.

        If `batch.candidates` is given, `item` has a row for each candidate and the scores are [B, C]; else `item` has
        a row for each example and the scores are [B]. Candidates come with labels for listwise heads alone, and a head
        that reads prompts is called with pairs only.
        """

    def base(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the head itself adds to each pair's score, by name, [B] each or one value for all."""
        return {}

    def sides(self, user: Joined, item: Joined) -> tuple[Joined, Joined]:
        """Return both sides as they enter the product when scoring: each row unchanged, or multiplied by a number."""
        return user, item

    def raw(self, batch: Batch, user: Joined, item: Joined) -> Tensor:
        """Return scores before they are clamped or calibrated, [B], or [B, C] of candidates.

        An explanation's parts add up to them.

        Differentiable, unlike the scores of `forward`; without dropout.
        """
        score = products(*self.sides(user, item), batch)
        for term in self.base(batch).values():
            score = score + term
        return score

    def reads_prompt(self) -> bool:
        """Return whether it needs vectors of prompts (`Batch.vectors`)."""
        return False

    def reads_confidence(self) -> bool:
        """Return whether it needs the examples' confidence (`Batch.confidence`)."""
        return False

    def negatives(self) -> Negatives | None:
        """Return how a step's candidates are drawn; None for heads that are not listwise."""
        return None

    def mixing_refusal(self) -> str | None:
        """Return why the head cannot learn from mixed labels, in one line that begins with the field; None if it can.

        Called if ``training.augment.mixup`` mixes pairs and their labels.
        """
        return None

    def observed(self, label: NDArray[np.floating], label_range: tuple[float, float]) -> NDArray[np.floating]:
        """Return labels as the loss and the metrics need them, [n].

        Args:
            label: Labels as the owner gives them, [n].
            label_range: Lowest and highest label of the owner's scale.

        Raises:
            InputError: If the head cannot learn from such labels.
        """
        return label

    def calibrate(self, scores: NDArray[np.floating], observed: NDArray[np.floating]) -> None:
        """Fit the calibrator, whose tensors are in `parts`, on scores of the validation part, [n] each.

        Heads without a calibrator do nothing.
        """
        return

    def report(self) -> dict[str, Any]:
        """Return plain figures of the trained head for ``metrics.json``, such as a learnt temperature."""
        return {}
