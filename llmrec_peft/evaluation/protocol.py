"""Protocol: what may be known when a model is evaluated, and its predictions under this protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.outcomes import Outcome, rank_targets

if TYPE_CHECKING:
    from llmrec_peft.model import RecModel


@dataclass(frozen=True)
class Protocol:
    """Settings of an evaluation, the same for all of a run's variants, heads and baselines.

    Attributes:
        refit: Whether the final model is also trained on validation.
        in_time: Whether every outcome before an example's own time counts (the prequential protocol).
        own_items: Whether items of an example's history are ranked too.
        sampled: Number of random items among which test examples are ranked as well; None for the catalogue only.
        bootstrap: Resamples of the paired intervals; 0 for none.
        num_items: Rows of an item table.
        train: Training interactions of the model that is evaluated on validation.
        learned: Training interactions of the final model: `train`, and validation if it is refit.
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
    """Predict a part with one head of a model, in the form that the task's metrics read.

    Args:
        model: Trained model.
        head: Name of the head.
        part: Examples.
        protocol: Settings of the evaluation.
        learned: Interactions that the model was trained on.
        sampled: Number of random items among which to rank as well.
    """
    if model.heads[head].task == "ranking":
        with model.ranking(part, protocol.num_items, head) as scores:
            return rank_targets(part, scores, protocol.num_items, own_items=protocol.own_items, sampled=sampled)
    if protocol.in_time:
        return model.scores_in_time(part, learned, head)
    return model.scores(part, head)
