"""Common likes and cosines of texts: the same whatever is counted at once, against dense matrices; bounded."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from scipy import sparse

from llmrec_peft.data.histories import Histories, earlier
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines import company
from llmrec_peft.evaluation.baselines.company import NEWEST, common_likes, liked_items, signed, text_cosines
from llmrec_peft.evaluation.baselines.entries import all_entries, entries_of, histories_of, pieces
from llmrec_peft.evaluation.baselines.unit_vectors import unit_vectors

USERS, ITEMS, WIDTH = 30, 40, 6


def part_of(seed: int, rows: int, users: int = USERS, items: int = ITEMS) -> Interactions:
    """Interactions with ties in time; entries of item 0 (unknown) stand in histories, and some items come twice."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(1, users, rows), rng.integers(1, items, rows)
    label, time, known = (
        rng.integers(0, 2, rows).astype(np.float32),
        rng.integers(0, rows // 2 + 1, rows),
        np.arange(rows),
    )
    told = np.where(rng.random(rows) < 0.05, 0, item)
    return Interactions(user, item, label, time, earlier(user, told, label, time, known, known))


def dense(learn: Interactions, ask: Interactions, alone: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Who liked what; signed histories; the scores of common likes: everything at once."""
    liked = np.zeros((int(learn.user.max()) + 1, ITEMS))
    for row in range(len(learn)):
        told = zip(*learn.history.of(row), strict=True) if alone and learn.history is not None else ()
        for item, label in [(learn.item[row], learn.label[row]), *told]:
            if label > 0.5 and item > 0:
                liked[learn.user[row], item] = 1.0
    own = np.zeros((len(ask), ITEMS))
    for row in range(len(ask)):
        assert ask.history is not None
        told = [(i, v) for i, v in zip(*(column[-NEWEST:] for column in ask.history.of(row)), strict=True) if i > 0]
        for place, (item, label) in zip(range(len(told), 0, -1), told, strict=True):
            own[row, item] += (1.0 if label > 0.5 else -1.0) / np.sqrt(place)
        own[row] /= max(np.abs(own[row]).sum(), 1e-9)
    together = liked.T @ liked
    np.fill_diagonal(together, 0.0)
    scores = (own @ together)[np.arange(len(ask)), ask.item] / np.sqrt(liked.sum(0) + 1.0)[ask.item]
    return liked, own, scores


@pytest.mark.parametrize("cells", [1, 70, company.CELLS])
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_common_likes_and_cosines_are_those_of_dense_matrices(
    seed: int, alone: bool, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, ask = part_of(seed, 400), part_of(seed + 10, 150)
    if alone:
        learn = Interactions(np.arange(1, 401), learn.item, learn.label, learn.timestamp, learn.history)
    monkeypatch.setattr(company, "CELLS", cells)
    monkeypatch.setattr(company, "DENSE", seed)  # none, or those of few rows
    liked, own, scores = dense(learn, ask, alone)
    np.testing.assert_array_equal(liked_items(learn, ITEMS, alone).toarray(), liked)
    np.testing.assert_allclose(signed(histories_of(ask), np.arange(150), ITEMS).toarray(), own, atol=1e-12)
    np.testing.assert_allclose(common_likes(learn, ask, ITEMS, alone), scores, atol=1e-6)
    texts = torch.from_numpy(np.random.default_rng(seed).normal(1.0, 1.0, (ITEMS, WIDTH))).float()
    centred = texts.numpy() - texts.numpy().mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(text_cosines(ask, texts, ITEMS), ((own @ unit) * unit[ask.item]).sum(1), atol=1e-6)


def test_only_the_newest_entries_of_very_long_histories_are_read() -> None:
    rows = NEWEST + 200
    item, label = np.tile(np.arange(1, ITEMS), rows)[:rows], np.ones(rows, np.float32)
    label[:200] = 0.0
    history = Histories(item, label, np.array([0, 100]), np.array([rows, 200]))
    ask = Interactions(np.array([1, 2]), np.array([3, 3]), np.ones(2, np.float32), np.array([0, 0]), history)
    assert entries_of(histories_of(ask, NEWEST), np.arange(2)).row.tolist() == [0] * NEWEST + [1] * 100
    learn = part_of(0, 400)
    np.testing.assert_allclose(common_likes(learn, ask, ITEMS, False), dense(learn, ask, False)[2], atol=1e-6)


def test_nobody_asking_and_no_history_score_nothing() -> None:
    learn, ask = part_of(0, 100), part_of(1, 20)
    none = ask.take(np.empty(0, np.int64))
    bare = Interactions(ask.user, ask.item, ask.label, ask.timestamp)
    texts = torch.ones(ITEMS, WIDTH)
    for scores in (common_likes(learn, none, ITEMS, False), text_cosines(none, texts, ITEMS)):
        assert len(scores) == 0
    for scores in (common_likes(learn, bare, ITEMS, False), text_cosines(bare, texts, ITEMS)):
        assert scores.tolist() == [0.0] * 20


# ---- bounds ----


@pytest.mark.parametrize("seed", range(3))
def test_pieces_are_all_rows_in_order_each_within_the_limit(seed: int) -> None:
    cost = np.random.default_rng(seed).integers(0, 9, 200)
    found = list(pieces(cost, 12))
    assert np.concatenate(found).tolist() == list(range(200))
    assert all(cost[piece].sum() <= 12 or len(piece) == 1 for piece in found)
    assert len(found) < cost.sum() / 12 * 2
    assert list(pieces(np.empty(0, np.int64), 12)) == []


def test_entries_are_written_out_a_bounded_number_at_a_time() -> None:
    histories = histories_of(part_of(0, 2000, users=5))
    whole = entries_of(histories, np.arange(2000))
    told = list(all_entries(histories, limit=5000))
    assert max(len(entries.row) for _, entries in told) <= 5000 < len(whole.row)
    np.testing.assert_array_equal(np.concatenate([rows[e.row] for rows, e in told]), whole.row)
    np.testing.assert_array_equal(np.concatenate([e.item for _, e in told]), whole.item)
    np.testing.assert_array_equal(np.concatenate([e.label for _, e in told]), whole.label)


@pytest.mark.trains  # three seconds
def test_memory_does_not_follow_the_number_of_entries_or_of_pairs() -> None:
    """30,000 examples of few users have eleven million entries; histories written out took a gigabyte."""
    part = part_of(0, 30_000, users=40, items=3000)
    assert part.history is not None
    assert int(np.minimum(part.history.lengths, NEWEST).sum()) > 1e7
    tracemalloc.start()
    common_likes(part, part, 3000, False)
    text_cosines(part, torch.ones(3000, 64), 3000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 320 * 2**20


def test_counted_pairs_are_those_of_asked_items_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    looked_up = company._looked_up

    def watched(matrix: sparse.csr_matrix, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        counted.append(matrix.nnz)
        return looked_up(matrix, row, column)

    learn, ask = part_of(0, 20_000, users=2000, items=ITEMS), part_of(1, 60)
    ask = ask.take(np.flatnonzero(ask.item < 9))
    monkeypatch.setattr(company, "CELLS", 80)
    monkeypatch.setattr(company, "_looked_up", watched)
    common_likes(learn, ask, ITEMS, False)
    assert max(counted) <= 80 + ITEMS
    assert sum(counted) < len(ask) * ITEMS < 39 * 39


@pytest.mark.parametrize("centred", [False, True])
def test_unit_vectors_leave_the_given_ones_as_they_are(centred: bool) -> None:
    given = torch.from_numpy(np.random.default_rng(0).normal(2.0, 1.0, (20_000, 3))).float()
    kept = given.clone()
    unit = unit_vectors(given, centred)
    expected = kept.numpy() - (kept.numpy().mean(0) if centred else 0.0)
    np.testing.assert_allclose(unit, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-5)
    torch.testing.assert_close(given, kept, rtol=0, atol=0)
    assert unit_vectors(torch.zeros(2, 3)).tolist() == [[0.0] * 3] * 2
