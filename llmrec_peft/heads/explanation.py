"""Explanation: how likely a decoder finds what people wrote of an item, given what speaks for it."""

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
"""What a decoder is asked, above the facts."""


class ExplanationOptions(Options):
    """Options of the explanation head."""

    instruction: str = Field(default=INSTRUCTION, min_length=1, max_length=2000)
    """What the decoder is asked, above the facts."""
    history: int = Field(default=3, ge=0, le=50)
    """Titles told of items that the user had liked before, the newest."""
    about_words: int = Field(default=40, ge=0, le=1000)
    """Words told of the item's text."""
    sentences: int = Field(default=2, ge=1, le=20)
    """Sentences learnt of a review, its first."""
    review_tokens: int = Field(default=48, ge=4, le=2048)
    """Tokens learnt of them at most."""
    liked_only: bool = True
    """Learn only from reviews whose label lies above the middle of the scale (data.liked_above): they say what speaks
    for an item."""
    evaluated: int | None = Field(default=256, ge=1)
    """Reviews of validation, and of test, that perplexity is measured on at most, drawn by the seed; null for all."""


class ExplanationHead(TaskHead[ExplanationOptions]):
    """loss = −(1/N) Σ log p(token | facts, tokens before it) over the N tokens of a batch's reviews.

    The facts are the item's title and text and what the user had liked before. The head scores nothing: it is trained
    by itself, on a decoder with an adapter inside (prompt and prefix tuning are the classical choice), by
    `llmrec_peft.writing.train_writer`, which gives it `reads`. `llmrec explain --generate --writer` writes with what
    it leaves.

    References:
        Li, Zhang and Chen, Personalized Prompt Learning for Explainable Recommendation, TOIS 41(4), 2023.
        Ni, Li and McAuley, Justifying Recommendations using Distantly-Labeled Reviews and Fine-Grained Aspects,
        EMNLP 2019.
    """

    summary: ClassVar[str] = "one or two sentences from the evidence, learnt from reviews by a decoder"
    Config: ClassVar[type[Options]] = ExplanationOptions
    task: ClassVar[Task] = "writing"
    metric: ClassVar[str] = "perplexity"
    lower_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "nats a token"

    reads: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    """Summed negative log-likelihood of the reviews of some examples and their numbers of tokens, float32 [B] each."""

    def build(self, context: HeadContext) -> nn.ModuleDict:
        """Nothing is trained here; a frozen scalar says where the head lies."""
        import torch
        from torch import nn

        place = nn.Parameter(torch.zeros(1), requires_grad=False)
        return nn.ModuleDict({"scale": nn.ParameterDict({"place": place})})

    def forward(self, batch: Batch, user: Joined, item: Joined) -> HeadOutput:
        """Loss of the batch's reviews; the score of an example is the mean log-likelihood of its tokens, [B]."""
        assert self.reads is not None and batch.example is not None  # noqa: S101 - see `reads`
        losses, counts = self.reads(batch.example)
        return HeadOutput(loss=losses.sum() / counts.sum(), scores=(-losses / counts).detach())
