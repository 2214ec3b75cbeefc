"""Outcomes: ranks in a catalogue, a chunk of examples at a time, against a dense reference spelled out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import NotFiniteError
from llmrec_peft.evaluation import outcomes
from llmrec_peft.evaluation.outcomes import CHUNK, SCORES, Ranks, in_chunks, joined, rank_targets

ROWS, ITEMS = 90, 40
SEEDS = range(2)


def part_of(seed: int, rows: int = ROWS) -> Interactions:
    """Examples with histories of up to six items; the own item stands in some of them."""
    rng = np.random.default_rng(seed)
    lengths, item = rng.integers(0, 7, rows), rng.integers(1, ITEMS, rows)
    end = np.cumsum(lengths)
    told = rng.integers(0, ITEMS, end[-1])
    own = np.flatnonzero((np.arange(rows) % 5 == 0) & (lengths > 0))
    told[end[own] - 1] = item[own]
    history = Histories(told, np.ones(end[-1], np.float32), end - lengths, end)
    return Interactions(rng.integers(1, 9, rows), item, np.ones(rows, np.float32), np.arange(rows), history)


def scores_of(seed: int, ties: bool, rows: int = ROWS) -> np.ndarray:
    rng = np.random.default_rng(seed + 50)
    drawn = rng.integers(0, 6, (rows, ITEMS - 1)) if ties else rng.normal(size=(rows, ITEMS - 1))
    return drawn.astype(np.float32)


def asked(scores: np.ndarray, sizes: list[int] | None = None) -> Callable[[np.ndarray], torch.Tensor]:
    """The scores of rows as they are asked for, and how many rows that was each time."""

    def ask(rows: np.ndarray) -> torch.Tensor:
        if sizes is not None:
            sizes.append(len(rows))
        return torch.from_numpy(scores[rows])

    return ask


def reference(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean of the best and the worst place among equals, row by row."""
    ranks = []
    for row, at in zip(scores, target, strict=True):
        own = row[at]
        better, equal = int((row > own).sum()), int((row == own).sum())
        ranks.append((better + 1 + better + equal) / 2.0)
    return np.array(ranks)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("chunk", [1, 7, ROWS, 1000])
@pytest.mark.parametrize("seed", SEEDS)
def test_ranks_in_chunks_are_those_of_all_scores_at_once(seed: int, chunk: int, ties: bool) -> None:
    part, scores = part_of(seed), scores_of(seed, ties)
    found = rank_targets(part, asked(scores), ITEMS, chunk=chunk)
    np.testing.assert_array_equal(found.rank, reference(scores, part.item - 1))
    for row in range(ROWS):
        listed = scores[row, found.top[row] - 1]
        assert listed.tolist() == sorted(scores[row], reverse=True)[:10]
        assert len(set(found.top[row].tolist())) == 10
    assert found.sampled is None


def test_never_more_rows_than_a_chunk_are_asked_for_and_each_once() -> None:
    part, scores, sizes, told = part_of(0, 700), scores_of(0, False, 700), list[int](), list[int]()
    rank_targets(part, asked(scores, sizes), ITEMS, progress=told.append)
    assert sizes == [256, 256, 188]
    assert max(sizes) == CHUNK
    assert told == sizes
    rank_targets(part, asked(scores, sizes := []), ITEMS, chunk=33)
    assert max(sizes) == 33
    assert sum(sizes) == 700


@pytest.mark.parametrize(("num_items", "rows"), [(2, 256), (20_826, 256), (131_072, 256), (1_000_001, 33), (10**9, 1)])
def test_chunks_are_bounded_by_the_bytes_of_their_scores(num_items: int, rows: int) -> None:
    found = list(in_chunks(np.arange(1000), num_items))
    assert len(found[0]) == rows
    assert rows == 1 or 4 * rows * num_items <= SCORES
    np.testing.assert_array_equal(np.concatenate(found), np.arange(1000))


@pytest.mark.parametrize("own_items", [True, False])
@pytest.mark.parametrize("compared", [1, 4 * ITEMS * 3, 1 << 20])
def test_ranks_are_the_same_however_few_scores_are_compared_at_once(
    compared: int, own_items: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, scores = part_of(0), scores_of(0, True)
    whole = rank_targets(part, asked(scores), ITEMS, own_items=own_items, sampled=7, chunk=40)
    monkeypatch.setattr(outcomes, "COMPARED", compared)
    found = rank_targets(part, asked(scores), ITEMS, own_items=own_items, sampled=7, chunk=40)
    for name in ("rank", "top", "sampled"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


@pytest.mark.parametrize("own_items", [True, False])
def test_given_scores_are_read_and_copied_a_few_rows_at_a_time(
    own_items: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same scores can answer every chunk, also one whose rows share their memory."""
    part, lent = part_of(0, 64), torch.from_numpy(scores_of(0, True, 1)[0])
    kept, sizes = lent.clone(), list[int]()
    copied = outcomes._table

    def watched(some: Interactions, scores: torch.Tensor, own_items: bool) -> torch.Tensor:
        table = copied(some, scores, own_items)
        sizes.append(4 * table.numel())
        return table

    monkeypatch.setattr(outcomes, "_table", watched)
    monkeypatch.setattr(outcomes, "COMPARED", 4 * ITEMS * 5)
    found = rank_targets(part, lambda rows: lent.expand(len(rows), -1), ITEMS, own_items=own_items)
    assert max(sizes) <= outcomes.COMPARED
    torch.testing.assert_close(lent, kept, rtol=0, atol=0)
    if own_items:
        np.testing.assert_array_equal(found.rank, reference(np.tile(kept.numpy(), (64, 1)), part.item - 1))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_items_of_the_own_history_are_left_out_where_they_are_not_to_be_ranked(seed: int, ties: bool) -> None:
    part, scores = part_of(seed), scores_of(seed, ties)
    assert part.history is not None
    found = rank_targets(part, asked(scores), ITEMS, own_items=False, chunk=13)
    unfindable = 0
    for row in range(ROWS):
        own = set(part.history.of(row)[0].tolist()) - {0}
        rest = np.array([item for item in range(1, ITEMS) if item not in own])
        assert not own & set(found.top[row].tolist())
        if part.item[row] in own:
            unfindable += 1
            assert found.rank[row] > len(rest), "it cannot be found and ranks behind all that can"
        else:
            place = int(np.flatnonzero(rest == part.item[row])[0])
            assert found.rank[row] == reference(scores[row][None, rest - 1], np.array([place]))[0]
    assert unfindable > 10
    kept = scores.copy()
    rank_targets(part, asked(scores), ITEMS, own_items=False)
    np.testing.assert_array_equal(scores, kept)


def test_a_list_has_no_more_items_than_may_be_ranked() -> None:
    """A history of all but three items leaves three to list; the other places hold no item."""
    items = np.arange(1, ITEMS)
    told = items[items > 3]
    history = Histories(told, np.ones(len(told), np.float32), np.array([0]), np.array([len(told)]))
    part = Interactions(np.array([1]), np.array([2]), np.ones(1, np.float32), np.zeros(1, np.int64), history)
    found = rank_targets(part, asked(scores_of(0, False, 1)), ITEMS, own_items=False)
    assert set(found.top[0, :3].tolist()) == {1, 2, 3}
    assert found.top[0, 3:].tolist() == [0] * 7
    small = rank_targets(part, asked(np.array([[3.0, 1.0]], np.float32)), 3)
    assert small.top.tolist() == [[1, 2]]
    assert small.rank.tolist() == [2.0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_and_not_ranked(value: float) -> None:
    part, scores = part_of(0), scores_of(0, False)
    scores[3, 4] = value
    with pytest.raises(NotFiniteError, match=r"1 of .* scores of the catalogue are not finite"):
        rank_targets(part, asked(scores), ITEMS)


def test_what_is_left_out_ranks_last() -> None:
    part, scores = part_of(0), scores_of(0, False)
    scores[np.arange(30), part.item[:30] - 1] = -np.inf
    assert (rank_targets(part, asked(scores), ITEMS).rank[:30] == ITEMS - 1).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_sampled_ranks_are_among_so_many_other_items(seed: int) -> None:
    part, count = part_of(seed, 400), 20
    scores = scores_of(seed, False, 400)
    found = rank_targets(part, asked(scores), ITEMS, sampled=count)
    assert found.sampled is not None
    assert found.sampled.min() >= 1.0
    assert found.sampled.max() <= 1 + count
    best = found.rank == 1
    assert best.any()
    assert (found.sampled[best] == 1.0).all(), "what is first of all is first among any"
    worst = found.rank == ITEMS - 1
    assert (found.sampled[worst] == 1 + count).all(), "its own item is never drawn beside it"
    share = (found.rank - 1) / (ITEMS - 2)
    expected = 1.0 + count * share
    error = np.sqrt((count * share * (1 - share)).sum()) / 400
    assert abs(np.mean(found.sampled - expected)) < 5 * error, "drawn uniformly from all others"
    again = rank_targets(part, asked(scores), ITEMS, sampled=count)
    np.testing.assert_array_equal(found.sampled, again.sampled)


def test_sampled_ties_count_half() -> None:
    part = part_of(0, 3)
    found = rank_targets(part, asked(np.zeros((3, ITEMS - 1), np.float32)), ITEMS, sampled=8)
    assert found.sampled is not None
    assert found.sampled.tolist() == [5.0] * 3


def test_taken_and_joined_ranks_are_those_of_the_rows() -> None:
    part, scores = part_of(1), scores_of(1, True)
    whole = rank_targets(part, asked(scores), ITEMS, sampled=5)
    rows = np.array([5, 2, 5])
    some = whole.take(rows)
    np.testing.assert_array_equal(some.rank, whole.rank[rows])
    np.testing.assert_array_equal(some.top, whole.top[rows])
    np.testing.assert_array_equal(some.sampled, whole.sampled[rows])  # type: ignore[index]
    pieces = [
        rank_targets(part.take(np.arange(a, b)), asked(scores[a:b]), ITEMS) for a, b in ((0, 11), (11, 12), (12, ROWS))
    ]
    put = joined(pieces)
    np.testing.assert_array_equal(put.rank, whole.rank)
    np.testing.assert_array_equal(put.top, whole.top)
    assert len(put) == ROWS
    assert Ranks(whole.rank, whole.top).take(rows).sampled is None


@pytest.mark.parametrize("own_items", [True, False])
def test_nobody_is_ranked_for_himself(own_items: bool) -> None:
    part, scores = part_of(4), scores_of(4, ties=False)
    oneself = np.where(np.arange(ROWS) % 3 == 0, 0, 1 + part.item % (ITEMS - 1))  # never the item asked for
    found = rank_targets(replace(part, oneself=oneself), asked(scores), ITEMS, own_items=own_items)
    lowered = scores.copy()
    rows = np.flatnonzero(oneself)
    lowered[rows, oneself[rows] - 1] = -1e9
    expected = rank_targets(part, asked(lowered), ITEMS, own_items=own_items)
    assert part.history is not None
    ranked = [own_items or part.item[row] not in part.history.of(row)[0] for row in range(ROWS)]
    np.testing.assert_array_equal(found.rank[ranked], expected.rank[ranked])
    assert not (found.top == oneself[:, None])[rows].any()
    kept = replace(part, oneself=oneself).take(rows).oneself
    assert kept is not None
    np.testing.assert_array_equal(kept, oneself[rows])
