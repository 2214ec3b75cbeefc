"""Explanation: the likelihood of what people wrote about an item, given facts that speak for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from llmrec_peft.heads.contract import HeadContext, HeadOutput, Joined, Task, TaskHead
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.data.batches import Batch

INSTRUCTION = (
    "In one or two short sentences, tell the reader why this was picked for them. Use only the facts below and name"
    " nothing else."
)
"""Instruction for the decoder, above the facts."""


class ExplanationOptions(Options):
    """Options of the explanation head."""

    instruction: str = Field(default=INSTRUCTION, min_length=1, max_length=2000)
    """Instruction for the decoder, above the facts."""
    history: int = Field(default=3, ge=0, le=50)
    """Titles of the user's liked items among the facts, the newest; 0 for none."""
    about_words: int = Field(default=40, ge=0, le=1000)
    """Words of the item's text among the facts; 0 for none."""
    sentences: int = Field(default=2, ge=1, le=20)
    """Sentences of a review that are learnt, its first ones."""
    review_tokens: int = Field(default=48, ge=4, le=2048)
    """Tokens of these sentences at most."""
    liked_only: bool = True
    """Whether only reviews with a label above the middle of the scale (data.liked_above) are learnt: they say what
    speaks for an item."""
    evaluated: int | None = Field(default=256, ge=1)
    """Reviews of validation, and of test, on which perplexity is measured at most, drawn by the seed; null for all."""


class ExplanationHead(TaskHead[ExplanationOptions]):
    """loss = −(1/N) Σ log p(token | facts, tokens before it) over the N tokens of a batch's reviews.

    The facts are the item's title and text and the user's liked items. The head gives no scores for ranking. It is
    trained separately, on a decoder with an adapter (prompt and prefix tuning are the classical choice), by
    `llmrec_peft.writing.train_writer`, which sets `reads`. `llmrec explain --generate --writer` writes with the result.

    References:
        Li, Zhang and Chen, Personalized Prompt Learning for Explainable Recommendation, TOIS 41(4), 2023.
        Ni, Li and McAuley, Justifying Recommendations using Distantly-Labeled Reviews and Fine-Grained Aspects,
        EMNLP 2019.
    """

    summary: ClassVar[str] = "one or two sentences from the evidence, learnt from reviews by a decoder"
    Config: ClassVar[type[Options]] = ExplanationOptions
    task: ClassVar[Task] = "writing"
    metric: str = "perplexity"
    lower_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "nats a token"

    reads: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    """Summed negative log-likelihood of the reviews of some examples and their numbers of tokens, float32 [B] each."""

    def build(self, context: HeadContext) -> nn.ModuleDict:
        """Return a frozen scalar, which only marks the head's device; nothing is trained here."""
        import torch
        from torch import nn

        place = nn.Parameter(torch.zeros(1), requires_grad=False)
        return nn.ModuleDict({"scale": nn.ParameterDict({"place": place})})

    def forward(self, batch: Batch, user: Joined, item: Joined) -> HeadOutput:
        """Compute the loss of the batch's reviews; an example's score is the mean log-likelihood of its tokens, [B]."""
        assert self.reads is not None and batch.example is not None  # noqa: S101 - see `reads`
        losses, counts = self.reads(batch.example)
        return HeadOutput(loss=losses.sum() / counts.sum(), scores=(-losses / counts).detach())
