"""HistoryEntries: a step multiplies the rows that it asks for; long histories keep their newest entries."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.model.contexts import training_contexts
from llmrec_peft.recipe import load_recipe
from llmrec_peft.signals.collaborative import Collaborative, CollaborativeOptions
from llmrec_peft.signals.contract import SignalContext
from llmrec_peft.signals.parts.history_entries import HistoryEntries
from llmrec_peft.signals.parts.rating_history import LeftOut, RatingHistory
from llmrec_peft.signals.parts.row_table import RowTable

USERS, ITEMS, DIM = 60, 40, 4


@pytest.fixture
def drawn() -> Interactions:
    """Ratings in which some pairs are repeated and some users have many."""
    rng = np.random.default_rng(0)
    user = (rng.random(700) ** 2 * (USERS - 2)).astype(np.int64) + 1
    item = rng.integers(1, ITEMS, 700)
    return Interactions(user, item, rng.integers(1, 6, 700).astype(np.float32), rng.integers(0, 900, 700))


def _entries(ratings: Interactions, longest: int | None = None) -> HistoryEntries:
    values = (ratings.user, ratings.item, ratings.label, ratings.timestamp)
    return HistoryEntries(*values, (USERS, ITEMS), longest)


def _dense(ratings: Interactions, weights: np.ndarray) -> torch.Tensor:
    whole = np.zeros((USERS, ITEMS), np.float32)
    np.add.at(whole, (ratings.user, ratings.item), weights)
    return torch.from_numpy(whole)


@pytest.mark.parametrize("count", [5, 400])
def test_sums_and_gradients_are_those_of_the_whole_matrix(drawn: Interactions, count: int) -> None:
    own = torch.from_numpy(np.random.default_rng(1).integers(0, USERS, count))
    table = RowTable(ITEMS, DIM)
    chosen, place = _entries(drawn).choose(own)
    for kind, weights in (("seen", np.ones(len(drawn), np.float32)), ("rated", drawn.label)):
        dense = _dense(drawn, weights)
        table.weight.grad = None
        sums = chosen.sums(table, kind)[0][place]
        torch.testing.assert_close(sums, (dense @ table.weight)[own])
        toward = torch.randn(count, DIM)
        (sums * toward).sum().backward()
        expected = torch.autograd.grad(((dense @ table.weight)[own] * toward).sum(), table.weight)[0]
        torch.testing.assert_close(table.weight.grad, expected)


def test_a_step_reads_the_entries_of_its_own_rows(drawn: Interactions) -> None:
    few, _ = _entries(drawn).choose(torch.tensor([50, 55, 50]))
    asked = np.isin(drawn.user, [50, 55])
    assert few._entries.nnz == len(np.unique(drawn.item[asked] + ITEMS * drawn.user[asked]))
    every = _entries(drawn)
    assert every.choose(torch.arange(USERS))[0] is every.choose(torch.arange(USERS))[0], "all rows are prepared once"


def test_long_histories_keep_their_newest_entries_and_the_rest_stays_whole(drawn: Interactions) -> None:
    entries, longest = _entries(drawn, 8), 8
    kept = np.zeros(len(drawn), bool)
    for user in range(USERS):
        own = np.flatnonzero(drawn.user == user)
        newest = own[np.lexsort((own, drawn.timestamp[own]))][-longest:]
        kept[newest] = True
    assert 0 < kept.sum() < len(drawn)
    assert np.array_equal(entries.kept, np.bincount(drawn.user[kept], minlength=USERS))
    table = RowTable(ITEMS, DIM)
    part = drawn.take(np.flatnonzero(kept))
    expected = _dense(part, np.ones(len(part), np.float32)) @ table.weight
    torch.testing.assert_close(entries.whole().of_tensor(table.weight, "seen"), expected)


def test_an_example_that_a_long_history_has_lost_is_not_taken_out_again(drawn: Interactions) -> None:
    history = RatingHistory(drawn, USERS, ITEMS, longest=8).users
    own, other = torch.from_numpy(drawn.user), torch.from_numpy(drawn.item)
    residual = torch.zeros(len(own))
    left_out = history.among(own, LeftOut.one(other, residual))
    assert left_out is not None and left_out.summed is not None
    inside = left_out.summed[:, 0].bool()
    assert not bool(inside.all())
    table = RowTable(ITEMS, DIM)
    sums = (
        history.implicit(table, own, left_out) * torch.rsqrt(history.length[own] - left_out.length + 1.0)[:, None] ** -1
    )
    whole = history.implicit(table, own, None) * torch.rsqrt(history.length[own] + 1.0)[:, None] ** -1
    torch.testing.assert_close(whole - sums, inside[:, None] * table.weight.detach()[other], rtol=0, atol=1e-4)
    counted = history.counted(own, left_out)[0]
    assert torch.equal(counted, history.count[own] - 1.0), "counts and means are over all entries"


@pytest.mark.parametrize(("asked", "expected"), [("auto", None), ("all", None), (5, 5)])
def test_histories_are_whole_unless_the_data_or_the_recipe_says_otherwise(
    asked: Any, expected: int | None, drawn: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal = Collaborative(CollaborativeOptions(longest_history=asked))
    assert signal._longest(drawn) == expected
    monkeypatch.setattr("llmrec_peft.signals.collaborative.MANY_INTERACTIONS", 100)
    assert signal._longest(drawn) == (128 if asked == "auto" else expected)


def test_histories_of_the_search_are_cut_where_those_of_the_final_model_are(
    drawn: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmrec_peft.signals.collaborative.MANY_INTERACTIONS", len(drawn))
    monkeypatch.setattr("llmrec_peft.signals.collaborative.LONG_HISTORY", 2)
    assert int(drawn.counts_by_user(USERS).max()) > 2

    def longest_kept(learned_by_run: int) -> int:
        signal = Collaborative(CollaborativeOptions())
        context = SignalContext(USERS, ITEMS, DIM, drawn, None, None, learned_by_run=learned_by_run)
        return int(signal.build(context)["history"].users.entries.kept.max())

    assert longest_kept(len(drawn)) > 2
    assert longest_kept(len(drawn) + 1) == 2, "validation is added in the refit"


def test_a_run_says_how_many_interactions_its_final_model_learns_from() -> None:
    for refit in (True, False):
        prepared = prepare(load_recipe("movies", changes={"data.path": "demo", "training.refit": refit}))
        learned = prepared.protocol.learned
        assert prepared.facts.learned_by_run == len(learned)
        contexts = training_contexts(prepared.recipe, prepared.facts, prepared.train, None)
        assert contexts.signal.learned_by_run == len(learned)


def test_copies_share_the_entries_and_draw_no_numbers(drawn: Interactions) -> None:
    history, table = RatingHistory(drawn, USERS, ITEMS), RowTable(ITEMS, DIM)
    before = torch.get_rng_state()
    copied, other = copy.deepcopy(history), copy.deepcopy(table)
    assert torch.equal(before, torch.get_rng_state())
    assert copied.users.entries is history.users.entries
    assert copied.users.count is not history.users.count
    assert torch.equal(other.weight, table.weight) and other.weight is not table.weight


def test_sums_are_computed_once_while_pairs_are_scored_and_anew_when_the_table_changed(drawn: Interactions) -> None:
    whole, table = _entries(drawn).whole(), RowTable(ITEMS, DIM)
    with torch.no_grad():
        first, again = whole.sums(table, "seen")[0], whole.sums(table, "seen")[0]
        assert again is first
        table.weight.index_fill_(0, torch.arange(ITEMS), 1.0)
        changed = whole.sums(table, "seen")[0]
    assert torch.equal(changed[:, 0], _dense(drawn, np.ones(len(drawn), np.float32)).sum(1))
