"""The rating head: offsets plus inner product, scores inside the scale, the loss outside of it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from llmrec_peft.data.batches import Batch
from llmrec_peft.heads.contract import HeadContext, Joined
from llmrec_peft.heads.rating import RatingHead, RatingOptions


def _head(**options: object) -> RatingHead:
    head = RatingHead(RatingOptions(**options))
    head.parts = head.build(HeadContext(dim=2, label_mean=3.5, label_range=(1.0, 5.0)))
    return head.parts.eval() and head


def _batch(label: list[float] | None) -> Batch:
    index = torch.zeros(3, dtype=torch.int64)
    return Batch(index, index, None if label is None else torch.tensor(label))


USER = Joined(torch.tensor([[1.0, 2.0], [4.0, 0.0], [-3.0, 1.0]]), torch.tensor([0.1, 0.0, 0.0]))
ITEM = Joined(torch.tensor([[0.5, 0.25], [1.0, 7.0], [2.0, 1.0]]), torch.tensor([0.2, 0.0, 0.5]))
RAW = torch.tensor([3.5 + 0.3 + 1.0, 3.5 + 4.0, 3.5 + 0.5 - 5.0])


def test_scores_are_clamped_to_the_scale() -> None:
    output = _head().forward(_batch(None), USER, ITEM)
    assert output.loss is None
    torch.testing.assert_close(output.scores, RAW.clamp(1.0, 5.0))
    assert output.scores[1:].tolist() == [5.0, 1.0]


@pytest.mark.parametrize(("name", "reference"), [("mse", F.mse_loss), ("mae", F.l1_loss), ("huber", F.huber_loss)])
def test_loss_is_of_unclamped_predictions(name: str, reference: object) -> None:
    label = [4.0, 5.0, 1.0]
    output = _head(loss=name).forward(_batch(label), USER, ITEM)
    torch.testing.assert_close(output.loss, reference(RAW, torch.tensor(label)))


def test_a_prediction_beyond_the_scale_still_has_a_gradient() -> None:
    item = Joined(ITEM.vector.clone().requires_grad_(), ITEM.offset)
    _head().forward(_batch([4.0, 5.0, 1.0]), USER, item).loss.backward()
    assert (item.vector.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("missing", ["user", "item"])
def test_without_one_side_only_offsets_speak(missing: str) -> None:
    user = Joined(None, USER.offset) if missing == "user" else USER
    item = Joined(None, ITEM.offset) if missing == "item" else ITEM
    scores = _head().forward(_batch(None), user, item).scores
    torch.testing.assert_close(scores, torch.tensor([3.8, 3.5, 4.0]))


def test_mean_starts_at_the_training_mean_and_is_trained_the_range_is_not() -> None:
    scale = _head().parts["scale"]
    assert scale["mean"].tolist() == [3.5]
    assert scale["mean"].requires_grad
    assert scale["range"].tolist() == [1.0, 5.0]
    assert not scale["range"].requires_grad


def test_dropout_is_on_the_joined_vectors_in_training_only() -> None:
    head = _head(dropout=0.5)
    still = head.forward(_batch(None), USER, ITEM).scores
    assert torch.equal(head.forward(_batch(None), USER, ITEM).scores, still)
    head.parts.train()
    torch.manual_seed(0)
    assert len({tuple(head.forward(_batch(None), USER, ITEM).scores.tolist()) for _ in range(8)}) > 1
