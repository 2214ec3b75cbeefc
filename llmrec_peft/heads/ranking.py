"""Ranking: the order of all items for a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from llmrec_peft.data.negatives import Negatives
from llmrec_peft.heads.confidence import ConfidenceOptions, weights
from llmrec_peft.heads.contract import HeadContext, HeadOutput, Joined, Task, TaskHead, matrix_scores, pair_scores
from llmrec_peft.losses import loss
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch


class RankingOptions(ConfidenceOptions):
    """Options of the ranking head."""

    loss: Literal["softmax", "bounded_softmax", "bpr"] = "softmax"
    """`softmax`: cross-entropy of the item against the candidates, corrected by how often each is drawn;
    `bounded_softmax`: the same with bounded loss for examples that are out of reach; `bpr`: pairwise."""
    bound: float = Field(default=0.3, gt=0.0, le=1.0)
    """Exponent q of `bounded_softmax`: towards 0 it becomes `softmax`; at 1 unlikely examples hardly count."""
    negatives: Literal["catalogue", "in-batch", "uniform", "popularity"] = "uniform"
    """Items that an item is ranked against: every item (`catalogue`), the batch's other items (`in-batch`), or these
    plus `negative_count` drawn items (`uniform`, or by `popularity`)."""
    negative_count: int = Field(default=512, ge=0, le=1_000_000)
    """Items drawn per step (`uniform`, `popularity`)."""
    positive_from: float | None = None
    """Only examples with this label or a higher one are targets, such as 4 for stars; null for all."""
    temperature: float = Field(default=1.0, gt=0.0, le=100.0)
    """Initial divisor of scores; it is learnt."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the target's probability that is spread over all candidates (`softmax`)."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the joined user and item vectors."""


class RankingHead(TaskHead[RankingOptions]):
    """score = (⟨user, item⟩ + offsets) / t, trained so that each interaction's item ranks above the candidates.

    References:
        Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009.
        Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, RecSys 2019.
    """

    summary: ClassVar[str] = "order of the whole catalogue, by sampled or full softmax or pair by pair"
    Config: ClassVar[type[Options]] = RankingOptions
    task: ClassVar[Task] = "ranking"
    metric: str = "ndcg@10"
    lower_is_better: ClassVar[bool] = False
    listwise: ClassVar[bool] = True

    def build(self, context: HeadContext) -> nn.ModuleDict:
        """Make the temperature."""
        import torch
        from torch import nn

        start = torch.tensor([self.config.temperature]).log()
        scale = nn.ParameterDict({"log_temperature": nn.Parameter(start)})
        return nn.ModuleDict({"scale": scale, "dropout": nn.Dropout(self.config.dropout)})

    def forward(self, batch: Batch, user: Joined, item: Joined) -> HeadOutput:
        """Compute scores, [B], or [B, C] against candidates, and the loss."""
        dropout = self.parts["dropout"]
        users = Joined(None if user.vector is None else dropout(user.vector), user.offset)
        items = Joined(None if item.vector is None else dropout(item.vector), item.offset, item.cross)
        temperature = self.parts["scale"]["log_temperature"].exp()
        if batch.candidates is None:
            return HeadOutput(loss=None, scores=(pair_scores(users, items) / temperature).detach())
        scores = matrix_scores(users, items) / temperature
        value = None
        if batch.target is not None and batch.label is not None:
            value = self._loss(scores, batch)
        return HeadOutput(loss=value, scores=scores.detach())

    def sides(self, user: Joined, item: Joined) -> tuple[Joined, Joined]:
        """Divide the item's side by t."""
        temperature = self.parts["scale"]["log_temperature"].exp()
        vector = None if item.vector is None else item.vector / temperature
        cross = None if item.cross is None else item.cross / temperature
        return Joined(user.vector, user.offset / temperature), Joined(vector, item.offset / temperature, cross)

    def _loss(self, scores: Tensor, batch: Batch) -> Tensor:
        assert batch.target is not None and batch.label is not None  # noqa: S101 - asked before
        target, weight = batch.target, weights(batch, self.config)
        if self.config.positive_from is not None:
            kept = batch.label >= self.config.positive_from
            if not bool(kept.any()):
                return scores.sum() * 0.0
            scores, target, weight = scores[kept], target[kept], None if weight is None else weight[kept]
        if self.config.loss == "bpr":
            own = scores.gather(1, target[:, None])
            others = target.new_ones(scores.shape).bool().scatter(1, target[:, None], False)
            return loss("bpr")(own.squeeze(1), scores, mask=others, weight=weight)
        if self.config.loss == "bounded_softmax":
            return loss("bounded_softmax")(scores, target, q=self.config.bound, log_q=batch.log_q, weight=weight)
        return loss("softmax")(
            scores, target, log_q=batch.log_q, label_smoothing=self.config.label_smoothing, weight=weight
        )

    def reads_confidence(self) -> bool:
        """Return whether examples weigh by their confidence."""
        return self.config.confidence_alpha > 0.0

    def negatives(self) -> Negatives:
        """Return the negatives that the options ask for."""
        drawn = self.config.negative_count if self.config.negatives in ("uniform", "popularity") else 0
        return Negatives(self.config.negatives, drawn)

    def report(self) -> dict[str, Any]:
        """Return the learnt temperature."""
        return {"temperature": float(self.parts["scale"]["log_temperature"].detach().exp())}
