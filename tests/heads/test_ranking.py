"""The ranking head: softmax over the catalogue or a corrected sample, pairs, and a temperature that is learnt."""

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
from llmrec_peft.heads.ranking import RankingHead, RankingOptions

DIM, ROWS, ITEMS = 4, 10, 16


def head(**options: Any) -> RankingHead:
    made = RankingHead(RankingOptions(**options))
    made.parts = made.build(HeadContext(DIM, 1.0, (0.0, 1.0)))
    return made


def interactions() -> Interactions:
    rng = np.random.default_rng(0)
    item = rng.integers(1, ITEMS, 60)
    return Interactions(rng.integers(1, 9, 60), item, rng.integers(1, 6, 60).astype(np.float32), np.arange(60))


def inputs(made: RankingHead, cross: bool = True, seed: int = 0) -> tuple[Batch, Joined, Joined]:
    """A batch with the candidates that the head asks for, and vectors of users and candidates."""
    torch.manual_seed(seed)
    train = interactions()
    batch = Batch.of(train, np.arange(ROWS), torch.device("cpu"))
    CandidateSampler(made.negatives(), train, ITEMS, 0).add(batch, 0, 1)
    assert batch.candidates is not None
    count = len(batch.candidates)
    user = Joined(torch.randn(ROWS, DIM), torch.zeros(ROWS))
    return batch, user, Joined(torch.randn(count, DIM), torch.randn(count), torch.randn(ROWS, count) if cross else None)


def scored(user: Joined, item: Joined) -> torch.Tensor:
    assert user.vector is not None
    assert item.vector is not None
    products = user.vector @ item.vector.T + item.offset
    return products if item.cross is None else products + item.cross


def loss(made: RankingHead, *given: Any) -> torch.Tensor:
    value = made.forward(*given).loss
    assert value is not None
    return value


# ---- what is minimised ----


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_loss_over_the_whole_catalogue_is_torch_cross_entropy(smoothing: float) -> None:
    made = head(negatives="catalogue", label_smoothing=smoothing, temperature=1.7)
    batch, user, item = inputs(made)
    assert batch.log_q is None
    assert batch.candidates.tolist() == list(range(1, ITEMS))  # type: ignore[union-attr]
    output = made.forward(batch, user, item)
    expected = F.cross_entropy(scored(user, item) / 1.7, batch.item - 1, label_smoothing=smoothing)
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(output.scores, scored(user, item) / 1.7)
    assert not output.scores.requires_grad


@pytest.mark.parametrize("kind", ["in-batch", "uniform", "popularity"])
def test_loss_over_a_sample_is_corrected_by_how_often_each_candidate_is_drawn(kind: Any) -> None:
    made = head(negatives=kind, negative_count=5, temperature=0.5)
    batch, user, item = inputs(made)
    assert batch.log_q is not None
    corrected = F.cross_entropy(scored(user, item) / 0.5 - batch.log_q, batch.target)
    torch.testing.assert_close(loss(made, batch, user, item), corrected)
    plain = F.cross_entropy(scored(user, item) / 0.5, batch.target)
    assert abs(corrected.item() - plain.item()) > 1e-2


def test_bpr_holds_the_own_item_against_every_other_candidate_one_by_one() -> None:
    made = head(loss="bpr", negatives="uniform", negative_count=6)
    batch, user, item = inputs(made)
    scores, pairs = scored(user, item), []
    for row, own in enumerate(batch.target.tolist()):  # type: ignore[union-attr]
        for column in range(scores.shape[1]):
            if column != own:
                pairs.append(F.softplus(scores[row, column] - scores[row, own]))
    assert len(pairs) == ROWS * (scores.shape[1] - 1)
    torch.testing.assert_close(loss(made, batch, user, item), torch.stack(pairs).mean())


def test_bounded_softmax_gives_up_on_what_is_out_of_reach() -> None:
    made = head(loss="bounded_softmax", bound=0.5, negatives="popularity", negative_count=4)
    batch, user, item = inputs(made)
    assert batch.log_q is not None
    p = F.softmax(scored(user, item) - batch.log_q, dim=1).gather(1, batch.target[:, None])  # type: ignore[index]
    torch.testing.assert_close(loss(made, batch, user, item), ((1 - p**0.5) / 0.5).mean())
    away = Joined(user.vector, user.offset), Joined(item.vector, item.offset - 100 * batch_items(batch), item.cross)
    assert loss(made, batch, *away).item() <= 2.0


def batch_items(batch: Batch) -> torch.Tensor:
    """1 for each candidate that is some example's own item."""
    assert batch.candidates is not None
    return torch.isin(batch.candidates, batch.item).float()


@pytest.mark.parametrize("kind", ["softmax", "bounded_softmax", "bpr"])
def test_only_examples_labelled_high_enough_are_ranked_first(kind: Any) -> None:
    made = head(loss=kind, negatives="catalogue", positive_from=4.0)
    batch, user, item = inputs(made)
    assert batch.label is not None
    kept = (batch.label >= 4.0).nonzero()[:, 0]
    assert 0 < len(kept) < ROWS
    found = loss(made, batch, user, item)
    some = Batch(batch.user[kept], batch.item[kept], batch.label[kept], candidates=batch.candidates)
    some.target = batch.target[kept]  # type: ignore[index]
    assert user.vector is not None
    assert item.cross is not None
    whole = head(loss=kind, negatives="catalogue")
    alone = loss(
        whole, some, Joined(user.vector[kept], user.offset[kept]), Joined(item.vector, item.offset, item.cross[kept])
    )
    torch.testing.assert_close(found, alone)
    assert found.item() != pytest.approx(loss(whole, batch, user, item).item())
    batch.label = torch.full((ROWS,), 3.9)
    moving = Joined(user.vector.clone().requires_grad_(), user.offset)
    nothing = loss(made, batch, moving, item)
    nothing.backward()
    assert nothing.item() == 0.0
    assert moving.vector is not None
    assert moving.vector.grad is not None
    assert not moving.vector.grad.any(), "a batch without such examples trains nothing, and breaks nothing"


def test_unlabelled_batches_have_scores_and_no_loss() -> None:
    made = head(negatives="catalogue")
    batch, user, item = inputs(made)
    batch.label = batch.target = None
    output = made.forward(batch, user, item)
    assert output.loss is None
    torch.testing.assert_close(output.scores, scored(user, item))


def test_pair_has_the_score_it_has_among_candidates() -> None:
    made = head(negatives="catalogue", temperature=0.3)
    batch, user, item = inputs(made)
    among = made.forward(batch, user, item).scores.gather(1, batch.target[:, None])[:, 0]  # type: ignore[index]
    assert item.vector is not None
    assert item.cross is not None
    own = batch.target
    offset = item.offset[own] + item.cross.gather(1, own[:, None])[:, 0]  # type: ignore[index]
    batch.candidates = None
    pair = made.forward(batch, user, Joined(item.vector[own], offset))
    torch.testing.assert_close(pair.scores, among)
    assert pair.loss is None
    torch.testing.assert_close(made.raw(batch, user, Joined(item.vector[own], offset)), among)


def test_dropout_is_on_vectors_in_training_only() -> None:
    made = head(negatives="catalogue", dropout=0.5)
    given = inputs(made)
    made.parts.train()
    torch.manual_seed(0)
    assert len({loss(made, *given).item() for _ in range(6)}) > 4
    made.parts.eval()
    assert loss(made, *given).item() == loss(made, *given).item()


# ---- candidates and temperature ----


def test_options_say_how_candidates_are_drawn() -> None:
    assert head().negatives() == Negatives("uniform", 512)
    assert head(negatives="popularity", negative_count=7).negatives() == Negatives("popularity", 7)
    assert head(negatives="catalogue", negative_count=7).negatives() == Negatives("catalogue", 0)
    assert head(negatives="in-batch").negatives() == Negatives("in-batch", 0)


def test_temperature_is_learnt_and_reported() -> None:
    """Scores that are right but far too small become sharper, those that say nothing softer."""
    assert head(temperature=2.5).report() == {"temperature": pytest.approx(2.5)}
    found = {}
    for size in (0.2, 20.0):
        made = head(negatives="catalogue")
        batch, user, _item = inputs(made, cross=False)
        right = F.one_hot(batch.item - 1, ITEMS - 1).float()
        noise = torch.randn(ROWS, ITEMS - 1)
        cross = size * (right if size < 1 else noise)
        silent = Joined(None, user.offset), Joined(None, torch.zeros(ITEMS - 1), cross)
        optimizer = torch.optim.Adam(made.parts.parameters(), lr=0.05)
        for _ in range(60):
            optimizer.zero_grad()
            loss(made, batch, *silent).backward()
            optimizer.step()
        found[size] = made.report()["temperature"]
    assert found[0.2] < 0.5
    assert found[20.0] > 2.0
