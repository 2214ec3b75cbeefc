"""Retrieval: two towers, so that candidates among millions are found by nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from llmrec_peft.data.negatives import Negatives
from llmrec_peft.heads.confidence import ConfidenceOptions, weights
from llmrec_peft.heads.contract import HeadContext, HeadOutput, Joined, Task, TaskHead, matrix_scores, pair_scores
from llmrec_peft.losses import loss
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch


class RetrievalOptions(ConfidenceOptions):
    """Options of the retrieval head."""

    temperature: float = Field(default=0.07, gt=0.0, le=10.0)
    """Initial divisor of similarities; it is learnt unless `fixed_temperature`."""
    fixed_temperature: bool = False
    """Whether the temperature stays fixed."""
    normalize: bool = True
    """Whether similarity is the cosine; otherwise the inner product."""
    correct: bool = True
    """Whether similarities are corrected by how often each item occurs in a batch (logQ)."""
    hard_negatives: int = Field(default=0, ge=0, le=64)
    """Items drawn for each example from the 50 whose texts are most similar to its own item's."""
    negative_count: int = Field(default=0, ge=0, le=1_000_000)
    """Items drawn at random per step in addition to the batch's own."""
    positive_from: float | None = None
    """Only examples with this label or a higher one are learnt from, such as 4 for stars; null for all."""


class RetrievalHead(TaskHead[RetrievalOptions]):
    """similarity = cos(user, item) + offsets, trained by in-batch InfoNCE with logQ correction.

    The two towers are joined by one product only, so that item vectors can be put into an index of nearest neighbours
    (`llmrec export-vectors`); offsets become one further dimension there.

    References:
        van den Oord, Li and Vinyals, Representation Learning with Contrastive Predictive Coding, 2018.
        Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, RecSys 2019.
    """

    summary: ClassVar[str] = "two towers for nearest-neighbour search, by in-batch contrast"
    Config: ClassVar[type[Options]] = RetrievalOptions
    task: ClassVar[Task] = "ranking"
    metric: str = "recall@10"
    lower_is_better: ClassVar[bool] = False
    listwise: ClassVar[bool] = True

    def build(self, context: HeadContext) -> nn.ModuleDict:
        """Make the temperature."""
        import torch
        from torch import nn

        start = torch.tensor([self.config.temperature]).log()
        temperature = nn.Parameter(start, requires_grad=not self.config.fixed_temperature)
        return nn.ModuleDict({"scale": nn.ParameterDict({"log_temperature": temperature})})

    def forward(self, batch: Batch, user: Joined, item: Joined) -> HeadOutput:
        """Compute similarities, [B], or [B, C] to candidates, and the loss."""
        users, items = self.towers(user), self.towers(item)
        if batch.candidates is None:
            return HeadOutput(loss=None, scores=pair_scores(users, items).detach())
        similarity = matrix_scores(users, items)
        value = None
        if batch.target is not None and batch.label is not None:
            value = self._loss(similarity, batch)
        return HeadOutput(loss=value, scores=similarity.detach())

    def sides(self, user: Joined, item: Joined) -> tuple[Joined, Joined]:
        """Return both towers."""
        return self.towers(user), self.towers(item)

    def towers(self, side: Joined) -> Joined:
        """Return one side as it enters the product."""
        import torch

        vector = side.vector
        if vector is not None and self.config.normalize:
            vector = torch.nn.functional.normalize(vector, dim=-1)
        return Joined(vector, side.offset, side.cross)

    def _loss(self, similarity: Tensor, batch: Batch) -> Tensor:
        assert batch.target is not None and batch.label is not None  # noqa: S101 - asked before
        target, weight = batch.target, weights(batch, self.config)
        if self.config.positive_from is not None:
            kept = batch.label >= self.config.positive_from
            if not bool(kept.any()):
                return similarity.sum() * 0.0
            similarity, target, weight = similarity[kept], target[kept], None if weight is None else weight[kept]
        log_q = batch.log_q if self.config.correct else None
        temperature = self.parts["scale"]["log_temperature"].exp().clamp(min=1e-3)
        return loss("info_nce")(similarity, target, temperature, log_q=log_q, weight=weight)

    def reads_confidence(self) -> bool:
        """Return whether examples weigh by their confidence."""
        return self.config.confidence_alpha > 0.0

    def negatives(self) -> Negatives:
        """Return the batch's own items, drawn ones, and hard ones."""
        drawn = self.config.negative_count
        return Negatives("uniform" if drawn else "in-batch", drawn, self.config.hard_negatives)

    def report(self) -> dict[str, Any]:
        """Return the learnt temperature."""
        return {"temperature": float(self.parts["scale"]["log_temperature"].detach().exp())}
