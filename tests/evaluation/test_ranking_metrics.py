"""Ranking metrics against torchmetrics, scikit-learn and sums by hand, with and without ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMRR, RetrievalNormalizedDCG

from llmrec_peft.evaluation.ranking_metrics import (
    coverage_at_k,
    hit_rate_at_k,
    mrr,
    ndcg_at_k,
    novelty_at_k,
    ranking_report,
    recall_at_k,
    target_rank,
)

SEEDS = range(2)
CASES, CANDIDATES = 60, 25


def scored(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores [n, C], target columns [n] and users [n]."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (CASES, CANDIDATES)).astype(float) if ties else rng.random((CASES, CANDIDATES))
    return scores, rng.integers(0, CANDIDATES, CASES), rng.integers(1, 12, CASES)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_rank_is_the_mean_over_both_orders_of_equals(seed: int, ties: bool) -> None:
    scores, target, _ = scored(seed, ties)
    for row, at, found in zip(scores, target, target_rank(scores, target), strict=True):
        better, equal = np.sum(row > row[at]), np.sum(row == row[at])
        assert found == np.mean([better + 1, better + equal])  # best and worst place among equals


@pytest.mark.parametrize("seed", SEEDS)
def test_rank_sees_the_candidates_of_the_mask_and_the_target_alone(seed: int) -> None:
    scores, target, _ = scored(seed, ties=True)
    mask = np.random.default_rng(seed + 100).random(scores.shape) < 0.4
    given = mask.copy()
    assert (target_rank(scores, target, np.zeros_like(mask)) == 1.0).all(), "a target alone is first"
    found = target_rank(scores, target, mask)
    assert np.array_equal(mask, given)
    for row, at, counts, rank in zip(scores, target, mask, found, strict=True):
        others = np.delete(row, at)[np.delete(counts, at)]
        assert rank == 1 + np.sum(others > row[at]) + np.sum(others == row[at]) / 2
    read = mask.copy()
    read[np.arange(CASES), target] = True
    assert np.array_equal(target_rank(np.where(read, scores, np.nan), target, mask), found)
    assert np.array_equal(target_rank(scores, target, np.ones_like(mask)), target_rank(scores, target))


def test_constant_scores_have_the_middle_rank() -> None:
    assert np.array_equal(target_rank(np.zeros((3, 9)), np.array([0, 4, 8])), [5.0, 5.0, 5.0])


def test_scores_that_are_not_numbers_are_refused_not_ranked() -> None:
    scores = np.array([[0.1, np.nan, 0.3], [np.nan, 0.2, 0.3]])
    with pytest.raises(ValueError, match="2 scores are not numbers"):
        target_rank(scores, np.array([0, 0]))
    with pytest.raises(ValueError, match="1 scores are not numbers"):  # the target's own always counts
        target_rank(scores, np.array([0, 0]), ~np.isnan(scores))


@pytest.mark.parametrize("k", [1, 3, 10, 25])
@pytest.mark.parametrize("seed", SEEDS)
def test_metrics_agree_with_torchmetrics_where_nothing_ties(seed: int, k: int) -> None:
    scores, target, _ = scored(seed, ties=False)
    rank = target_rank(scores, target)
    relevant = np.zeros(scores.shape, int)
    relevant[np.arange(CASES), target] = 1
    flat = torch.from_numpy(scores).reshape(-1), torch.from_numpy(relevant).reshape(-1)
    case = torch.arange(CASES).repeat_interleave(CANDIDATES)
    for found, reference in (
        (hit_rate_at_k(rank, k), RetrievalHitRate(top_k=k)),
        (ndcg_at_k(rank, k), RetrievalNormalizedDCG(top_k=k)),
        (mrr(rank), RetrievalMRR()),
    ):
        assert found == pytest.approx(reference(*flat, indexes=case).item(), abs=1e-6)
    assert ndcg_at_k(rank, k) == pytest.approx(ndcg_score(relevant, scores, k=k), abs=1e-9)


def test_fractional_ranks_are_within_k_up_to_k() -> None:
    rank = np.array([1.0, 2.0, 2.5, 3.0])
    assert hit_rate_at_k(rank, 2) == 0.5
    assert hit_rate_at_k(rank, 3) == 1.0
    assert ndcg_at_k(rank, 2) == pytest.approx((1 + 1 / math.log2(3)) / 4)
    assert ndcg_at_k(rank, 3) == pytest.approx((1 + 1 / math.log2(3) + 1 / math.log2(3.5) + 0.5) / 4)
    assert mrr(rank) == pytest.approx((1 + 1 / 2 + 1 / 2.5 + 1 / 3) / 4)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_recall_is_the_mean_of_users_shares(seed: int, ties: bool) -> None:
    scores, target, user = scored(seed, ties)
    rank = target_rank(scores, target)
    for k in (1, 5, 10):
        shares = [np.mean(rank[user == u] <= k) for u in np.unique(user)]
        assert recall_at_k(rank, user, k) == pytest.approx(np.mean(shares))
        assert recall_at_k(rank, np.arange(CASES), k) == pytest.approx(hit_rate_at_k(rank, k))


def test_coverage_is_of_the_items_and_never_of_no_item() -> None:
    top = np.array([[1, 2], [2, 3], [3, 0]])
    assert coverage_at_k(top, 7) == 3 / 6
    assert coverage_at_k(np.zeros((4, 2), int), 7) == 0.0
    assert coverage_at_k(np.arange(1, 7)[None], 7) == 1.0


def test_novelty_is_the_surprise_of_an_entry_with_each_item_seen_once_more() -> None:
    popularity = np.array([999, 3, 0, 1])  # of no item, and of items 1 to 3
    share = np.array([4, 1, 2]) / 7
    top = np.array([[1, 2], [1, 0]])
    assert novelty_at_k(top, popularity) == pytest.approx(np.mean(-np.log2(share[[0, 1, 0]])))
    assert novelty_at_k(np.array([[2]]), popularity) > novelty_at_k(np.array([[3]]), popularity)
    with pytest.raises(ValueError, match="no list holds an item"):
        novelty_at_k(np.zeros((2, 2), int), popularity)


def test_report_holds_every_metric_at_every_cutoff() -> None:
    scores, target, user = scored(0, ties=True)
    rank, items = target_rank(scores, target), CANDIDATES + 1
    top = np.argsort(-scores, axis=1, kind="stable")[:, :10] + 1
    popularity = np.random.default_rng(0).integers(0, 50, items)
    report = ranking_report(rank, top, user, popularity, items, ks=(5, 10))
    assert report == {
        "mrr": mrr(rank),
        **{f"hr@{k}": hit_rate_at_k(rank, k) for k in (5, 10)},
        **{f"ndcg@{k}": ndcg_at_k(rank, k) for k in (5, 10)},
        **{f"recall@{k}": recall_at_k(rank, user, k) for k in (5, 10)},
        **{f"coverage@{k}": coverage_at_k(top[:, :k], items) for k in (5, 10)},
        **{f"novelty@{k}": novelty_at_k(top[:, :k], popularity) for k in (5, 10)},
    }
    assert set(ranking_report(rank, top, user, popularity, items)) == {
        "hr@10", "ndcg@10", "mrr", "recall@10", "coverage@10", "novelty@10",
    }  # fmt: skip


def test_lists_shorter_than_the_cutoff_are_refused_unless_the_catalogue_is() -> None:
    rank, user, top = np.ones(2), np.array([1, 2]), np.array([[1, 2], [2, 0]])
    with pytest.raises(ValueError, match="lists of 2 items cannot be measured at 10"):
        ranking_report(rank, top, user, np.ones(9), 9)
    assert ranking_report(rank, top, user, np.ones(3), 3)["hr@10"] == 1.0
