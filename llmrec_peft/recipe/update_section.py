"""Section `update` of a recipe: how `llmrec update` goes on from a trained run with newer data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llmrec_peft.options import Options

ReplayPolicy = Literal["uniform", "newest", "by-user"]
"""Which old interactions are replayed beside the new ones."""


class UpdateSection(Options):
    """How `llmrec update` goes on from a trained run."""

    epochs: int = Field(default=2, ge=1, le=100_000)
    """Passes over the new interactions; each comes with old ones that are drawn anew."""
    replay: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Share of old interactions among the examples of an epoch, so that old knowledge is not forgotten; at most all."""
    policy: ReplayPolicy = "uniform"
    """Which old interactions: drawn at random (`uniform`), the `newest`, or drawn so that all users are told of equally
    often (`by-user`)."""
    distill: float = Field(default=0.0, ge=0.0, le=1000.0)
    """Weight λ of λ (s - s')² in the loss of old interactions: s is the raw score (stars or log-odds), s' that of the
    run before. Against forgetting; for ratings and clicks."""
    adapter_epochs: int = Field(default=1, ge=0)
    """Number of first epochs in which the adapter is trained, too. A pass over all texts takes most of their time."""
    learning_rate: float = Field(default=1.0, gt=0.0, le=1000.0)
    """Factor on all learning rates of `training`."""
    window: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the new interactions, the newest, that old and new run are compared on; none of them is learned from."""
