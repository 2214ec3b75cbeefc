"""Collaborative: histories that leave the answer out, zeros for what is cold, folding into plain tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.signals.collaborative import Collaborative
from llmrec_peft.signals.contract import SignalContext

Make = Callable[..., Collaborative]
COLD_USER, COLD_ITEM = 8, 7


def _batch(ratings: Interactions, rows: Any, labelled: bool = True) -> Batch:
    part = ratings.take(np.asarray(rows))
    label = torch.from_numpy(part.label) if labelled else None
    return Batch(torch.from_numpy(part.user), torch.from_numpy(part.item), label)


def _prediction(signal: Collaborative, batch: Batch) -> torch.Tensor:
    item, user = signal.item(batch), signal.user(batch)
    total = signal.offset(batch)
    if user is not None and item is not None:
        total = total + (user * item).sum(-1)
    return total.detach()


def _two_changes(ratings: Interactions) -> tuple[int, np.ndarray]:
    """A row and labels in which its rating is one higher, and another one lower, so that the mean stays.

    The other rating is by another user, of another item, and neither of the two meets the row's user or item
    in the ratings: nothing but the row's own rating can then reach its prediction.
    """
    pairs = set(zip(ratings.user.tolist(), ratings.item.tolist(), strict=True))
    for row in range(len(ratings)):
        user, item = int(ratings.user[row]), int(ratings.item[row])
        for other in range(len(ratings)):
            u, i = int(ratings.user[other]), int(ratings.item[other])
            if u != user and i != item and (u, item) not in pairs and (user, i) not in pairs:
                label = ratings.label.copy()
                label[row] += 1.0
                label[other] -= 1.0
                return row, label
    raise AssertionError("no such pair of ratings")


@pytest.mark.parametrize("kind", ["none", "implicit", "explicit", "both"])
def test_own_rating_never_reaches_its_prediction_while_training(
    kind: str, ratings: Interactions, collaborative: Make
) -> None:
    row, label = _two_changes(ratings)
    changed = replace(ratings, label=label)
    before = collaborative(ratings, user_history=kind, item_history=kind)
    after = collaborative(changed, user_history=kind, item_history=kind)
    trained = [_prediction(s, _batch(r, [row])) for s, r in ((before, ratings), (after, changed))]
    assert float((trained[0] - trained[1]).abs()) < 1e-5
    leaked = [_prediction(s, _batch(r, [row], labelled=False)) for s, r in ((before, ratings), (after, changed))]
    assert float((leaked[0] - leaked[1]).abs()) > 1e-3  # the same rating is in the history once it may be


def test_own_pair_is_out_of_the_implicit_history_while_training(ratings: Interactions, collaborative: Make) -> None:
    """With one interaction less in the data, the implicit parts of its prediction are the same."""
    row = 3
    rest = ratings.take(np.delete(np.arange(len(ratings)), row))
    options: dict[str, Any] = {"user_history": "implicit", "item_history": "implicit"}
    whole, without = collaborative(ratings, **options), collaborative(rest, **options)
    for name in ("user", "item"):
        inside = getattr(whole, name)(_batch(ratings, [row]))
        outside = getattr(without, name)(_batch(ratings, [row], labelled=False))
        torch.testing.assert_close(inside, outside, rtol=0, atol=1e-5)
        seen = getattr(whole, name)(_batch(ratings, [row], labelled=False))
        assert float((seen - outside).detach().abs().max()) > 1e-2


def test_explicit_history_is_the_formula(ratings: Interactions, collaborative: Make) -> None:
    signal = collaborative(ratings, user_history="explicit", item_history="none")
    table = signal.parts["user_explicit"].weight
    mean = ratings.label.mean()
    item_mean = {
        i: (ratings.label[ratings.item == i] - mean).sum() / ((ratings.item == i).sum() + 5.0) for i in range(8)
    }
    for row in range(len(ratings)):
        user, item = ratings.user[row], ratings.item[row]
        own = [at for at in range(len(ratings)) if ratings.user[at] == user and ratings.item[at] != item]
        residuals = [ratings.label[at] - mean - item_mean[ratings.item[at]] for at in own]
        centre = sum(residuals) / (len(own) + 5.0)
        expected = signal.parts["user"].weight[user].detach().clone()
        for at, residual in zip(own, residuals, strict=True):
            expected += (residual - centre) * table[ratings.item[at]].detach() / (len(own) + 1) ** 0.5
        vector = signal.user(_batch(ratings, [row]))[0]
        torch.testing.assert_close(vector.detach(), expected, rtol=1e-4, atol=1e-5)


def test_sparse_sums_have_the_gradients_of_dense_ones(ratings: Interactions, collaborative: Make) -> None:
    signal = collaborative(ratings, user_history="implicit", item_history="none")
    weights = torch.randn(9, 4)
    batch = Batch(torch.arange(9), torch.arange(9) % 8)
    (signal.user(batch) * weights).sum().backward()
    dense = torch.zeros(9, 8)
    dense[torch.from_numpy(ratings.user), torch.from_numpy(ratings.item)] = 1.0
    scale = torch.rsqrt(dense.sum(1, keepdim=True) + 1.0)
    torch.testing.assert_close(signal.parts["user_implicit"].weight.grad, dense.T @ (scale * weights))


def test_cold_users_and_items_get_zeros_whatever_their_rows_hold(ratings: Interactions, collaborative: Make) -> None:
    signal = collaborative(ratings)
    cold = Batch(torch.tensor([COLD_USER, 0]), torch.tensor([COLD_ITEM, 0]))
    assert signal.user(cold).abs().max() == 0
    assert signal.item(cold).abs().max() == 0
    assert signal.offset(cold).abs().max() == 0
    half = Batch(torch.tensor([1]), torch.tensor([COLD_ITEM]))
    assert signal.user(half).abs().max() > 0
    assert signal.item(half).abs().max() == 0


@pytest.mark.parametrize(
    "options",
    [{}, {"factors": False}, {"items": False}, {"user_history": "none", "item_history": "explicit"}],
    ids=["all", "biases", "no-items", "one-history"],
)
def test_folding_keeps_every_score_and_drops_every_interaction(
    options: dict[str, Any], ratings: Interactions, collaborative: Make
) -> None:
    signal = collaborative(ratings, **options)
    signal.parts.eval()
    users, items = torch.meshgrid(torch.arange(9), torch.arange(8), indexing="ij")
    batch = Batch(users.flatten(), items.flatten())
    before = _prediction(signal, batch)
    signal.fold()
    torch.testing.assert_close(_prediction(signal, batch), before, rtol=0, atol=1e-5)
    assert "history" not in signal.parts
    assert not any(tensor.layout == torch.sparse_csr for tensor in signal.parts.buffers())
    signal.fold()  # a second time changes nothing
    torch.testing.assert_close(_prediction(signal, batch), before, rtol=0, atol=1e-5)


def test_folded_tables_load_into_a_signal_built_without_interactions(
    ratings: Interactions, collaborative: Make
) -> None:
    signal = collaborative(ratings)
    signal.parts.eval()
    signal.fold()
    loaded = Collaborative(signal.config)
    loaded.parts = loaded.build(SignalContext(9, 8, 4, None, None, None, signal.parts.state_dict()))
    loaded.parts.load_state_dict(signal.parts.state_dict())
    batch = Batch(torch.tensor([1, 5, 8]), torch.tensor([2, 7, 3]))
    assert torch.equal(_prediction(loaded, batch), _prediction(signal, batch))


def test_item_dropout_hides_whole_items_in_training_only(ratings: Interactions, collaborative: Make) -> None:
    signal = collaborative(ratings, item_dropout=0.5)
    batch = _batch(ratings, np.arange(len(ratings)))
    signal.parts.train()
    torch.manual_seed(1)
    vectors, offsets = signal.item(batch).detach(), signal.offset(batch).detach()
    shown = vectors.abs().sum(1) > 0
    assert 0 < int(shown.sum()) < len(shown)
    for item in range(1, 7):
        assert len(set(shown[batch.item == item].tolist())) == 1  # all examples of an item agree
    users_only = signal._bias("user", batch.user, batch).detach()
    torch.testing.assert_close(offsets[~shown], users_only[~shown])
    assert float((offsets[shown] - users_only[shown]).abs().min()) > 1e-4
    signal.parts.eval()
    assert bool((signal.item(batch).abs().sum(1) > 0).all())


@pytest.mark.parametrize("option", ["user_history", "item_history"])
def test_history_that_is_off_has_no_table(option: str, ratings: Interactions, collaborative: Make) -> None:
    side = option.split("_", maxsplit=1)[0]
    names = {name.split(".")[0] for name, _ in collaborative(ratings, **{option: "none"}).parts.named_parameters()}
    assert not {f"{side}_implicit", f"{side}_explicit"} & names
    assert side in names
    names = {name.split(".")[0] for name, _ in collaborative(ratings, factors=False).parts.named_parameters()}
    assert names == {"user_bias", "item_bias", "user_statistics", "item_statistics"}
