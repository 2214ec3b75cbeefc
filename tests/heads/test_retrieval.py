"""The retrieval head: two towers, cosines at a learnt temperature, and the correction for a batch's own items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.negatives import CandidateSampler, Negatives
from llmrec_peft.heads.contract import HeadContext, Joined
from llmrec_peft.heads.retrieval import RetrievalHead, RetrievalOptions

DIM, ROWS, ITEMS = 5, 12, 20


def head(**options: Any) -> RetrievalHead:
    made = RetrievalHead(RetrievalOptions(**options))
    made.parts = made.build(HeadContext(DIM, 1.0, (0.0, 1.0)))
    return made


def interactions(seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    share = 1.0 / np.arange(1, ITEMS)
    item = rng.choice(np.arange(1, ITEMS), 80, p=share / share.sum())
    return Interactions(rng.integers(1, 9, 80), item, rng.integers(1, 6, 80).astype(np.float32), np.arange(80))


def inputs(made: RetrievalHead, offsets: bool = False) -> tuple[Batch, Joined, Joined]:
    torch.manual_seed(0)
    train = interactions()
    batch = Batch.of(train, np.arange(ROWS), torch.device("cpu"))
    CandidateSampler(made.negatives(), train, ITEMS, 0).add(batch, 0, 1)
    count = len(batch.candidates)  # type: ignore[arg-type]
    user = Joined(3.0 * torch.randn(ROWS, DIM), torch.zeros(ROWS))
    return batch, user, Joined(0.2 * torch.randn(count, DIM), torch.randn(count) if offsets else torch.zeros(count))


def loss(made: RetrievalHead, *given: Any) -> torch.Tensor:
    value = made.forward(*given).loss
    assert value is not None
    return value


def cosines(user: Joined, item: Joined) -> torch.Tensor:
    assert user.vector is not None
    assert item.vector is not None
    return F.cosine_similarity(user.vector[:, None], item.vector[None], dim=-1)


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_loss_is_cross_entropy_of_similarities_over_the_temperature_with_and_without_log_q(
    normalize: bool, correct: bool
) -> None:
    made = head(normalize=normalize, correct=correct, temperature=0.2)
    batch, user, item = inputs(made, offsets=True)
    assert batch.log_q is not None
    similar = cosines(user, item) if normalize else user.vector @ item.vector.T  # type: ignore[union-attr, operator]
    similar = similar + item.offset
    expected = F.cross_entropy(similar / 0.2 - (batch.log_q if correct else 0.0), batch.target)
    output = made.forward(batch, user, item)
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.scores, similar, msg="scores are similarities, not divided by the temperature")


def test_candidates_are_the_batchs_own_items_and_what_is_drawn_beside_them() -> None:
    assert head().negatives() == Negatives("in-batch", 0, 0)
    assert head(negative_count=9).negatives() == Negatives("uniform", 9, 0)
    assert head(hard_negatives=3).negatives() == Negatives("in-batch", 0, 3)
    batch, _, _ = inputs(head())
    assert batch.candidates.tolist() == sorted(set(batch.item.tolist()))  # type: ignore[union-attr]
    drawn, _, _ = inputs(head(negative_count=9))
    assert len(drawn.candidates) > len(batch.candidates)  # type: ignore[arg-type]


def test_without_the_correction_popular_items_are_scored_down() -> None:
    """Everybody likes items as often as they come up: learnt with log q, offsets are their log shares."""
    train = interactions(3)
    share = np.bincount(train.item, minlength=ITEMS)[1:] / len(train)
    met = share > 0.03
    found = {}
    for correct in (True, False):
        made = head(correct=correct, temperature=1.0, fixed_temperature=True)
        offsets = torch.zeros(ITEMS, requires_grad=True)
        optimizer = torch.optim.Adam([offsets], lr=0.05)
        sampler, rng = CandidateSampler(made.negatives(), train, ITEMS, 0), np.random.default_rng(0)
        for step in range(300):
            batch = Batch.of(train, rng.integers(0, 80, ROWS), torch.device("cpu"))
            sampler.add(batch, 0, step)
            optimizer.zero_grad()
            side = Joined(None, torch.zeros(ROWS)), Joined(None, offsets[batch.candidates])
            loss(made, batch, *side).backward()
            optimizer.step()
        found[correct] = np.corrcoef(offsets.detach().numpy()[1:][met], np.log(share[met]))[0, 1]
    assert found[True] > 0.9
    assert found[False] < found[True] - 0.1


@pytest.mark.parametrize("fixed", [True, False])
def test_temperature_is_learnt_unless_it_is_fixed(fixed: bool) -> None:
    made = head(fixed_temperature=fixed)
    assert made.report() == {"temperature": pytest.approx(0.07)}
    given = inputs(made)
    optimizer = torch.optim.Adam(made.parts.parameters(), lr=0.1)
    for _ in range(30):
        optimizer.zero_grad()
        value = loss(made, *given)
        if not fixed:
            value.backward()
            optimizer.step()
    assert (made.report()["temperature"] == pytest.approx(0.07)) is fixed
    assert made.parts["scale"]["log_temperature"].requires_grad is not fixed


def test_temperature_cannot_fall_to_where_losses_overflow() -> None:
    made = head()
    with torch.no_grad():
        made.parts["scale"]["log_temperature"].fill_(-40.0)
    value = loss(made, *inputs(made))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(made.parts["scale"]["log_temperature"].grad).all()


def test_only_examples_labelled_high_enough_are_learnt_from() -> None:
    made, plain = head(positive_from=4.0), head()
    batch, user, item = inputs(made)
    assert batch.label is not None
    kept = (batch.label >= 4.0).nonzero()[:, 0]
    assert 0 < len(kept) < ROWS
    some = Batch(batch.user[kept], batch.item[kept], batch.label[kept], candidates=batch.candidates)
    some.target, some.log_q = batch.target[kept], batch.log_q  # type: ignore[index]
    assert user.vector is not None
    alone = loss(plain, some, Joined(user.vector[kept], user.offset[kept]), item)
    torch.testing.assert_close(loss(made, batch, user, item), alone)
    batch.label = torch.ones(ROWS)
    assert loss(made, batch, user, item).item() == 0.0


@pytest.mark.parametrize("normalize", [True, False])
def test_towers_meet_in_one_product_which_is_the_score(normalize: bool) -> None:
    made = head(normalize=normalize)
    batch, user, item = inputs(made, offsets=True)
    users, items = made.sides(user, item)
    assert users.vector is not None
    assert items.vector is not None
    torch.testing.assert_close(users.vector @ items.vector.T + items.offset, made.forward(batch, user, item).scores)
    lengths = torch.cat([users.vector.norm(dim=1), items.vector.norm(dim=1)])
    assert bool((lengths - 1.0).abs().max() < 1e-5) is normalize
    own = batch.target
    batch.candidates = None
    pair = Joined(item.vector[own], item.offset[own])  # type: ignore[index]
    among = (users.vector * items.vector[own]).sum(1) + item.offset[own]  # type: ignore[index]
    torch.testing.assert_close(made.forward(batch, user, pair).scores, among)
    torch.testing.assert_close(made.raw(batch, user, pair), among)
    assert made.forward(batch, user, pair).loss is None


def test_an_empty_vector_is_like_nothing_and_has_a_finite_gradient() -> None:
    made = head()
    batch, user, item = inputs(made)
    assert user.vector is not None
    vector = user.vector.clone()
    vector[0] = 0.0
    vector.requires_grad_()
    value = loss(made, batch, Joined(vector, user.offset), item)
    value.backward()
    assert torch.isfinite(vector.grad).all()  # type: ignore[arg-type]
    assert made.forward(batch, Joined(vector, user.offset), item).scores[0].abs().max() == 0.0
