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
"""What a head answers, which says how it is measured: stars of pairs, clicks of pairs, ranks in the catalogue, or how
likely a decoder finds what people wrote; the last is trained by itself (`llmrec_peft.writing.train_writer`)."""


@dataclass(frozen=True)
class HeadContext:
    """What a head may know when it is built.

    Attributes:
        dim: Width of user and item vectors.
        label_mean: Mean label of the training interactions.
        label_range: Lowest and highest label of the owner's scale.
        text_width: Width of prompt vectors; None where no prompt is read.
        decodes: Whether prompts are read by a decoder.
        yes_no: Rows of its output embedding for "Yes" and "No", float32 [2, text_width]; None when a trained
            head is built to be loaded.
        labels: Labels of the training interactions, float32 [n]; None when loading.
        saved: Tensors of the trained head where it is built to be loaded: they tell sizes that are the model's.
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
    """What a head says of a batch.

    Attributes:
        loss: Scalar to minimise; None without labels.
        scores: float32 [B], in the label's unit, or [B, C] against shared candidates; higher is better.
    """

    loss: Tensor | None
    scores: Tensor


@dataclass
class Joined:
    """One side's vectors, joined over the signals.

    Attributes:
        vector: float32 [rows, dim]; None where no signal speaks of this side.
        offset: What signals add to the score by themselves, float32 [rows]; in pairs it stands on the item's side.
        cross: What signals add for each example and candidate together, float32 [B, C]; for candidates alone.
    """

    vector: Tensor | None
    offset: Tensor
    cross: Tensor | None = None


def pair_scores(user: Joined, item: Joined) -> Tensor:
    """Inner products of rows with equal numbers plus offsets, [B]."""
    score = user.offset + item.offset
    if user.vector is not None and item.vector is not None:
        score = score + (user.vector * item.vector).sum(-1)
    return score


def matrix_scores(user: Joined, item: Joined) -> Tensor:
    """Inner products of every user with every item plus offsets, [B, C]."""
    score = user.offset[:, None] + item.offset[None, :]
    if user.vector is not None and item.vector is not None:
        score = score + user.vector @ item.vector.T
    return score if item.cross is None else score + item.cross


def products(user: Joined, item: Joined, batch: Batch) -> Tensor:
    """Inner products plus offsets: of pairs, [B], or where the batch has candidates, of all of them, [B, C]."""
    return pair_scores(user, item) if batch.candidates is None else matrix_scores(user, item)


class TaskHead(ABC, Generic[C]):
    """One task. A head is one file: its options, this class, and one entry-point line."""

    summary: ClassVar[str]
    """One line for `llmrec list`."""
    Config: ClassVar[type[Options]]
    """The head's options."""
    task: ClassVar[Task] = "rating"
    """Which metrics and which baselines belong to it."""
    views: ClassVar[tuple[str, ...]] = ("item",)
    """Text views that it reads."""
    metric: ClassVar[str]
    """Primary metric, by which epochs are chosen."""
    lower_is_better: ClassVar[bool]
    """Direction of the primary metric."""
    listwise: ClassVar[bool] = False
    """Whether it is trained against `Batch.candidates` and scores them all at once."""
    unit: ClassVar[str] = "score"
    """What `raw` is counted in."""
    tried_with: ClassVar[Mapping[str, Any]] = {}
    """Options under which the conformance suite tries it, where the defaults leave out what it needs."""

    def __init__(self, config: C) -> None:
        self.config = config
        self.parts: Any = None
        """The `nn.ModuleDict` that `build` made, set by who calls it; loosely typed, since parts differ."""

    @abstractmethod
    def build(self, context: HeadContext) -> nn.ModuleDict:
        """Make the parts that are trained."""

    @abstractmethod
    def forward(self, batch: Batch, user: Joined, item: Joined) -> HeadOutput:
        """Loss and scores of a batch.

        Where `batch.candidates` is there, `item` has a row for each candidate and the scores are [B, C]; else `item`
        has a row for each example and the scores are [B]. Candidates come with labels for listwise heads alone, and
        a head that reads prompts is asked for pairs alone.
        """

    def base(self, batch: Batch) -> dict[str, Tensor]:
        """What the head adds to each pair's score by itself, by name, [B] each or one for all."""
        return {}

    def sides(self, user: Joined, item: Joined) -> tuple[Joined, Joined]:
        """Both sides as they go into the product while scoring: each row as it is, or multiplied by a number."""
        return user, item

    def raw(self, batch: Batch, user: Joined, item: Joined) -> Tensor:
        """Score before it is clamped or calibrated, [B], or [B, C] of candidates: what an explanation adds up to.

        Differentiable, unlike the scores of `forward`; without dropout.
        """
        score = products(*self.sides(user, item), batch)
        for term in self.base(batch).values():
            score = score + term
        return score

    def reads_prompt(self) -> bool:
        """Whether vectors of prompts have to be there (`Batch.vectors`)."""
        return False

    def negatives(self) -> Negatives | None:
        """How the candidates of a step are drawn; None for heads that are not listwise."""
        return None

    def mixing_refusal(self) -> str | None:
        """Why labels between two labels mean nothing to the head, in words that begin with a field; None if they do.

        Asked where ``training.augment.mixup`` mixes pairs and their labels.
        """
        return None

    def observed(self, label: NDArray[np.floating], label_range: tuple[float, float]) -> NDArray[np.floating]:
        """Labels as the loss and the metrics want them, [n].

        Args:
            label: Labels as the owner gives them, [n].
            label_range: Lowest and highest label of the owner's scale.

        Raises:
            InputError: When the head cannot learn from labels like these.
        """
        return label

    def calibrate(self, scores: NDArray[np.floating], observed: NDArray[np.floating]) -> None:
        """Fit the calibrator, whose tensors live in `parts`, on scores of the validation part, [n] each.

        Heads without one do nothing.
        """
        return

    def report(self) -> dict[str, Any]:
        """Plain figures of the trained head for ``metrics.json``, such as a learnt temperature."""
        return {}
