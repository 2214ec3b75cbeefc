"""Confidence: examples weigh 1 + α ln(1 + c / ε) in every loss of rankings, and are refused where none is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.soundness import sound
from llmrec_peft.data.splits import Split
from llmrec_peft.data.tables import dataset_of, interactions_table, table
from llmrec_peft.data.vocabulary import Vocabulary
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.learnable import require_learnable
from llmrec_peft.heads.confidence import ConfidenceOptions, weights
from llmrec_peft.heads.contract import HeadContext, Joined, TaskHead
from llmrec_peft.heads.ranking import RankingHead, RankingOptions
from llmrec_peft.heads.retrieval import RetrievalHead, RetrievalOptions
from llmrec_peft.recipe import load_recipe

ROWS, ITEMS, DIM = 6, 9, 4
HOURS = [0.0, 0.5, 2.0, 10.0, 100.0, 1000.0]
LOSSES = ["softmax", "bounded_softmax", "bpr", "info_nce"]


def dataset(**columns: Any) -> RecDataset:
    made = {"rating": [1.0] * 4, "timestamp": range(4), **columns}
    return RecDataset(
        name="made up",
        interactions=interactions_table(["u1", "u2", "u1", "u2"], ["a", "b", "c", "a"], **made),
        items=table({"item_id": ["a", "b", "c"], "title": ["A", "B", "C"]}),
        users=table({"user_id": ["u1", "u2"]}),
        rating_range=(0, 1),
        feedback="implicit",
    )


def numbered(data: RecDataset) -> Interactions:
    return Interactions.of(data, Vocabulary.of(["u1", "u2"], ["a", "b", "c"]))


def head(kind: str, **options: Any) -> TaskHead[Any]:
    made: TaskHead[Any]
    if kind == "info_nce":
        made = RetrievalHead(RetrievalOptions(**options))
    else:
        made = RankingHead(RankingOptions(loss=kind, **options))  # type: ignore[arg-type]
    made.parts = made.build(HeadContext(DIM, 1.0, (0.0, 1.0)))
    return made


def batch(rows: list[int], hours: list[float] | None) -> tuple[Batch, Joined, Joined]:
    generator = torch.Generator().manual_seed(0)
    user, item = torch.randn(ROWS, DIM, generator=generator), torch.randn(ITEMS, DIM, generator=generator)
    made = Batch(
        user=1 + torch.tensor(rows),
        item=1 + torch.tensor(rows),
        label=torch.arange(ROWS, dtype=torch.float32)[rows],
        candidates=torch.arange(1, ITEMS + 1),
        target=torch.tensor(rows),
        confidence=None if hours is None else torch.tensor(hours)[rows],
    )
    return made, Joined(user[rows], torch.zeros(len(rows))), Joined(item, torch.zeros(ITEMS))


def loss(made: TaskHead[Any], rows: list[int], hours: list[float] | None) -> float:
    value = made.forward(*batch(rows, hours)).loss
    assert value is not None
    return float(value.detach())


def test_weight_grows_with_the_logarithm_of_the_hours() -> None:
    made, *_ = batch(list(range(ROWS)), HOURS)
    found = weights(made, ConfidenceOptions(confidence_alpha=2.0, confidence_eps=0.5))
    assert found is not None
    assert found.tolist() == pytest.approx([1.0 + 2.0 * math.log(1.0 + hours / 0.5) for hours in HOURS])


def test_without_alpha_or_without_confidence_all_weigh_alike() -> None:
    known, *_ = batch(list(range(ROWS)), HOURS)
    unknown, *_ = batch(list(range(ROWS)), None)
    assert weights(known, ConfidenceOptions()) is None
    assert weights(unknown, ConfidenceOptions(confidence_alpha=1.0)) is None


@pytest.mark.parametrize("kind", LOSSES)
def test_loss_is_the_weighted_mean_over_examples(kind: str) -> None:
    rows, alpha, eps = list(range(ROWS)), 0.7, 2.0
    each = np.array([loss(head(kind), [row], None) for row in rows])
    weight = 1.0 + alpha * np.log1p(np.array(HOURS) / eps)
    weighed = loss(head(kind, confidence_alpha=alpha, confidence_eps=eps), rows, HOURS)
    assert weighed == pytest.approx((weight * each).sum() / weight.sum(), rel=1e-5)
    assert abs(weighed - loss(head(kind), rows, HOURS)) > 1e-3, "without α the hours say nothing"
    assert loss(head(kind, confidence_alpha=alpha), rows, [3.0] * ROWS) == pytest.approx(each.mean(), rel=1e-5)


@pytest.mark.parametrize("kind", LOSSES)
def test_only_targets_weigh_where_some_examples_are_none(kind: str) -> None:
    made = head(kind, confidence_alpha=0.7, positive_from=3.0)
    assert loss(made, list(range(ROWS)), HOURS) == pytest.approx(
        loss(head(kind, confidence_alpha=0.7), [3, 4, 5], HOURS), rel=1e-5
    )


def test_confidence_goes_from_the_reader_into_batches() -> None:
    part = numbered(sound(dataset(confidence=[0.0, 1.5, 2.0, 70.0]))).take(np.array([3, 1]))
    found = Batch.of(part, np.array([0, 1]), torch.device("cpu")).confidence
    assert found is not None
    assert found.tolist() == [70.0, 1.5]
    assert Batch.of(numbered(dataset()), np.array([0]), torch.device("cpu")).confidence is None


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_confidence_that_is_none_is_named_by_its_interaction(value: float) -> None:
    with pytest.raises(InputError, match=r"made up: confidence \S+ of interaction 2 is no number from 0 up \(1 such\)"):
        sound(dataset(confidence=[0.0, 1.0, value, 1.0]))
    with pytest.raises(InputError, match="interactions: confidence 1 is 'much' where a number belongs"):
        dataset(confidence=[0.0, "much", 1.0, 1.0])


def test_missing_confidence_is_refused() -> None:
    import pyarrow as pa

    made = dataset()
    rows = made.interactions.data.table.append_column("confidence", pa.array([1.0, None, 2.0, 3.0]))
    with pytest.raises(InputError, match="confidence nan of interaction 1 is no number"):
        sound(replace(made, interactions=dataset_of(rows)))


def test_weights_by_a_confidence_that_the_data_lack_are_refused() -> None:
    recipe = load_recipe("movies-ranking", changes={"data.path": "demo", "head.confidence_alpha": 1.0})
    parts = Split(np.array([0, 1]), np.array([2]), np.array([3]))
    with pytest.raises(InputError, match="head ranking: confidence_alpha weighs interactions by their column"):
        require_learnable(recipe, dataset(), numbered(dataset()), parts)
    known = dataset(confidence=[1.0] * 4)
    require_learnable(recipe, known, numbered(known), parts)
