"""Learnable: data from which nothing can be learned, or on which nothing can be measured, is refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.splits import Split
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.click_metrics import auc_by_user
from llmrec_peft.evaluation.impression_metrics import IMPRESSION_METRICS
from llmrec_peft.heads.contract import TaskHead
from llmrec_peft.recipe import Recipe


def require_learnable(recipe: Recipe, dataset: RecDataset, interactions: Interactions, parts: Split) -> None:
    """Refuse a single user or item, equal labels, clicks of one class, and weights by a confidence that is not there.

    Args:
        recipe: Heads that learn.
        dataset: Data as it was read.
        interactions: Its interactions, numbered.
        parts: Their rows by part.

    Raises:
        InputError: With what to change.
    """
    for what, table, number in (
        ("user", dataset.users, interactions.user),
        ("item", dataset.items, interactions.item),
    ):
        if len(table) < 2 or (number == number[0]).all():  # noqa: PLR2004 - one alone can be told from nobody
            raise InputError(
                f"{dataset.name}: all {len(interactions)} interactions are of one {what}: nothing tells {what}s apart;"
                f" give data of two {what}s or more"
            )
    for name, head in recipe.reads.heads.items():
        if head.reads_confidence() and interactions.confidence is None:
            raise InputError(
                f"head {name}: confidence_alpha weighs interactions by their column confidence, which {dataset.name}"
                " does not have; leave it out, or choose data that tell how often or how long"
            )
        if head.task not in ("rating", "click"):
            continue
        learnt = head.observed(interactions.label[parts.train], dataset.rating_range)
        if not recipe.data.expand_histories and (learnt == learnt[0]).all():
            other = "another data.split or head.threshold" if head.task == "click" else "another data.split"
            raise InputError(
                f"head {name}: all {len(learnt)} training labels of {dataset.name} are {learnt[0]:g}: there is nothing"
                f" to learn; give data whose labels differ, or choose {other}"
            )
        if head.task == "click":
            _require_classes(
                name,
                dataset,
                {
                    part: head.observed(interactions.label[rows], dataset.rating_range)
                    for part, rows in (("validation", parts.valid), ("test", parts.test))
                },
            )
            if head.metric in IMPRESSION_METRICS:
                for part, rows in (("validation", parts.valid), ("test", parts.test)):
                    _require_impressions(f"head {name}", part, dataset, interactions.take(rows), head)


def _require_impressions(
    head: str, part: str, dataset: RecDataset, examples: Interactions, reads: TaskHead[Any]
) -> None:
    """Refuse a metric by impression where no impression has both a clicked and an unclicked item."""
    if examples.impression is None:
        raise InputError(
            f"{head}: {dataset.name} does not say which items were shown together; choose head.metric=auc, or give"
            " interactions a column impression"
        )
    observed = reads.observed(examples.label, dataset.rating_range)
    if not len(auc_by_user(observed, observed, examples.impression)[0]):
        raise InputError(
            f"{head}: no impression of the {part} part of {dataset.name} has both a clicked and an unclicked item;"
            " choose head.metric=auc, or give more data"
        )


def _require_classes(name: str, dataset: RecDataset, observed: dict[str, np.ndarray]) -> None:
    """Refuse clicks of which validation or test holds one class alone: nothing there can be told apart."""
    for part, clicks in observed.items():
        if len(np.unique(clicks)) == 1:
            raise InputError(
                f"head {name}: all {len(clicks)} {part} examples of {dataset.name} are"
                f" {'positive' if clicks[0] else 'negative'}: AUC needs both classes, choose another data.split or"
                " head.threshold"
            )
