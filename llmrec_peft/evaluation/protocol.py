"""Protocol: what may be known when a model is evaluated, and what it predicts under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.outcomes import Outcome, rank_targets

if TYPE_CHECKING:
    from llmrec_peft.model import RecModel


@dataclass(frozen=True)
class Protocol:
    """How a run is evaluated; the same for all of its variants, heads and baselines.

    Attributes:
        refit: Whether the final model learns from validation, too.
        in_time: Whether every outcome before an example's own time counts (the prequential protocol).
        own_items: Whether items of an example's history are ranked too.
        sampled: Test examples are also ranked among so many random items; None for the catalogue alone.
        bootstrap: Resamples of the paired intervals; 0 for none.
        num_items: Rows of an item table.
        train: Interactions that the model which validation watches is trained on.
        learned: Interactions that the final model is trained on: `train`, and validation where it is refit.
    """

    refit: bool
    in_time: bool
    own_items: bool
    sampled: int | None
    bootstrap: int
    num_items: int
    train: Interactions
    learned: Interactions


def outcome_of(
    model: RecModel,
    head: str,
    part: Interactions,
    protocol: Protocol,
    learned: Interactions,
    sampled: int | None = None,
) -> Outcome:
    """Predict a part with one head of a model, in the form that the head's task is measured in.

    Args:
        model: Trained model.
        head: Name of the head.
        part: Examples.
        protocol: How they are evaluated.
        learned: Interactions that the model was trained on.
        sampled: Rank among so many random items, too.
    """
    if model.heads[head].task == "ranking":
        with model.ranking(part, protocol.num_items, head) as scores:
            return rank_targets(part, scores, protocol.num_items, own_items=protocol.own_items, sampled=sampled)
    if protocol.in_time:
        return model.scores_in_time(part, learned, head)
    return model.scores(part, head)
