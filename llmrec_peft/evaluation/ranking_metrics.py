"""Metrics of ranked lists, in numpy: the rank of each case's one relevant item, and properties of the lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.order import distinct
from llmrec_peft.errors import NotFiniteError

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

NO_ITEM = 0
"""Entry of a list that is no item."""


def target_rank(scores: Floats, target: Ints, mask: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Compute the rank of each case's target among its candidates: 1 + |better| + ½ |as good|.

    Ties count half, so that equal scores give no advantage: a constant has the mean rank of a random order.

    Args:
        scores: [n, C], higher is better.
        target: Column of each case's target, [n].
        mask: Which candidates count, bool [n, C]; by default all. The target always counts.

    Returns:
        float64 [n], from 1 to the number of candidates that count.

    Raises:
        ValueError: If a score that counts is NaN.

    References:
        Krichene and Rendle, On Sampled Metrics for Item Recommendation, KDD 2020 (why C should be the whole
        catalogue).
    """
    scores, place = np.asarray(scores), np.asarray(target, np.int64)[:, None]
    counts = np.ones(scores.shape, bool) if mask is None else np.array(mask, bool)
    np.put_along_axis(counts, place, True, axis=1)
    if (np.isnan(scores) & counts).any():
        raise NotFiniteError(f"{int((np.isnan(scores) & counts).sum())} scores are not numbers")
    own = np.take_along_axis(scores, place, axis=1)
    better = ((scores > own) & counts).sum(axis=1)
    as_good = ((scores == own) & counts).sum(axis=1) - 1
    return np.asarray(1.0 + better + as_good / 2.0, np.float64)


def hits_at_k(rank: Floats, k: int) -> NDArray[np.float64]:
    """Return 1 if the target is within the first k, rank ≤ k, else 0, [n]."""
    return (np.asarray(rank, np.float64) <= k).astype(np.float64)


def gains_at_k(rank: Floats, k: int) -> NDArray[np.float64]:
    """Return 1 / log₂(1 + rank) if rank ≤ k, else 0, [n]; the ideal list of one relevant item has gain 1."""
    rank = np.asarray(rank, np.float64)
    return np.where(rank <= k, 1.0 / np.log2(1.0 + rank), 0.0)


def reciprocal_ranks(rank: Floats) -> NDArray[np.float64]:
    """Return 1 / rank, [n]."""
    return 1.0 / np.asarray(rank, np.float64)


def hit_rate_at_k(rank: Floats, k: int) -> float:
    """Compute the share of cases whose target is within the first k.

    Args:
        rank: Rank of each case's target, from 1, [n], n > 0; a fractional rank (from ties) counts as within k if
            rank ≤ k.
        k: At least 1.
    """
    return float(hits_at_k(rank, k).mean())


def ndcg_at_k(rank: Floats, k: int) -> float:
    """Compute NDCG with one relevant item per case: the mean of 1 / log₂(1 + rank) within k.

    Args:
        rank: Rank of each case's target, from 1, [n], n > 0; a fractional rank is used as it is.
        k: At least 1.

    References:
        Järvelin and Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, ACM TOIS 20(4), 2002.
    """
    return float(gains_at_k(rank, k).mean())


def mrr(rank: Floats) -> float:
    """Compute the mean reciprocal rank over all cases, without a cutoff.

    Args:
        rank: Rank of each case's target, from 1, [n], n > 0.

    References:
        Voorhees, The TREC-8 Question Answering Track Report, TREC 1999.
    """
    return float(reciprocal_ranks(rank).mean())


def recall_at_k(rank: Floats, user: Ints, k: int) -> float:
    """Compute the mean over users of the share of a user's cases that are within the first k.

    It equals `hit_rate_at_k` if all users have equally many cases; otherwise users, not cases, have equal weights.

    Args:
        rank: Rank of each case's target, from 1, [n], n > 0.
        user: User index of each case, [n].
        k: At least 1.
    """
    _, place = np.unique(user, return_inverse=True)
    return float(np.mean(np.bincount(place, hits_at_k(rank, k)) / np.bincount(place)))


def coverage_at_k(top: Ints, num_items: int) -> float:
    """Compute the share of the catalogue that stands in at least one list.

    Args:
        top: Item indices of each list, [n, k]; 0 is no item.
        num_items: Rows of the item table, the one for no item included, at least 2.

    References:
        Ge, Delgado-Battenfeld and Jannach, Beyond Accuracy: Evaluating Recommender Systems by Coverage and
        Serendipity, RecSys 2010, section 2.
    """
    listed = distinct(np.ravel(top))
    return float((listed != NO_ITEM).sum() / (num_items - 1))


def novelty_at_k(top: Ints, popularity: NDArray[np.number]) -> float:
    """Compute the mean over list entries of -log₂ p(item), p = (count + 1) / (Σ counts + number of items), in bits.

    High if lists contain items with few interactions.

    Args:
        top: Item indices of each list, [n, k], at least one of them an item; 0 is no item and is left out.
        popularity: Training interactions of each item index, [num_items]; the first, for no item, is not read.

    Raises:
        ValueError: If no list contains an item.

    References:
        Zhou et al., Solving the Apparent Diversity-Accuracy Dilemma of Recommender Systems, PNAS 107(10), 2010
        (self-information; add-one smoothing is ours, for items without training interactions).
    """
    count = np.asarray(popularity, np.float64)[NO_ITEM + 1 :] + 1.0
    listed = np.asarray(top)[np.asarray(top) != NO_ITEM]
    if not len(listed):
        raise ValueError("no list holds an item")
    return float(np.mean(-np.log2(count / count.sum())[listed - 1]))


def ranking_report(
    rank: Floats, top: Ints, user: Ints, popularity: NDArray[np.number], num_items: int, ks: Sequence[int] = (10,)
) -> dict[str, float]:
    """Compute all ranking metrics of one model.

    Args:
        rank: Rank of each case's target, from 1, [n], n > 0.
        top: Item indices of each list, best first, 0 for no item, [lists, width].
        user: User index of each case, [n].
        popularity: Training interactions of each item index, [num_items].
        num_items: Rows of the item table, the one for no item included.
        ks: Cutoffs.

    Returns:
        ``hr@k``, ``ndcg@k``, ``recall@k``, ``coverage@k`` and ``novelty@k`` of each cutoff, and ``mrr``.

    Raises:
        ValueError: If the lists are shorter than a cutoff although the catalogue is not.
    """
    width = np.asarray(top).shape[1]
    if width < min(max(ks), num_items - 1):
        raise ValueError(f"lists of {width} items cannot be measured at {max(ks)}")
    report = {"mrr": mrr(rank)}
    for k in ks:
        first = np.asarray(top)[:, :k]
        report |= {
            f"hr@{k}": hit_rate_at_k(rank, k),
            f"ndcg@{k}": ndcg_at_k(rank, k),
            f"recall@{k}": recall_at_k(rank, user, k),
            f"coverage@{k}": coverage_at_k(first, num_items),
            f"novelty@{k}": novelty_at_k(first, popularity),
        }
    return report
