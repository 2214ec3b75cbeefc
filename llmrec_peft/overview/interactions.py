"""Interactions described: sizes, skew, labels, times and duplicates, computed on whole columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.custom.interaction_rows import DRAWN_ORDER
from llmrec_peft.data.dataset import RecDataset, arrow, numbers
from llmrec_peft.data.order import distinct_count

if TYPE_CHECKING:
    from datasets import Dataset

FEW_LABELS = 12
"""Distinct labels that are listed one by one; more are described by quantiles."""
BINS = 20
"""Stretches of equal length into which a span of time is divided."""
_DATED = (100_000_000, 4_102_444_800)
"""Seconds since 1970 of 1973 and of 2100: times between them are shown as dates."""


def numbered_ids(table: Dataset, name: str) -> tuple[NDArray[np.int64], int]:
    """Number the values of a text column.

    Returns:
        Number of each row's value from 0, int64 [n], and how many distinct values there are.
    """
    encoded = arrow(table).column(name).dictionary_encode().unify_dictionaries()
    if encoded.num_chunks == 0:
        return np.empty(0, np.int64), 0
    codes = np.concatenate([np.asarray(chunk.indices) for chunk in encoded.chunks]).astype(np.int64)
    return codes, len(encoded.chunk(0).dictionary)


def spread(values: NDArray[Any]) -> dict[str, float | int]:
    """Return the least, median, 90 % quantile, largest and mean of some numbers; empty for none.

    >>> spread(np.arange(1, 12))
    {'min': 1, 'median': 6.0, 'p90': 10.0, 'max': 11, 'mean': 6.0}
    """
    if not len(values):
        return {}
    median, high = np.quantile(values, (0.5, 0.9))
    return {
        "min": values.min().item(),
        "median": float(median),
        "p90": float(high),
        "max": values.max().item(),
        "mean": round(float(values.mean()), 4),
    }


def gini(counts: NDArray[Any]) -> float:
    """Return the Gini coefficient of counts: 0 where all are equal, near 1 where one has nearly everything.

    G = Σᵢ (2i − n − 1) xᵢ / (n Σ x) over the counts x in ascending order.

    >>> gini(np.array([2, 2, 2])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    total, size = float(counts.sum()), len(counts)
    if size == 0 or total == 0.0:
        return 0.0
    place = 2.0 * np.arange(1, size + 1) - size - 1
    return float(place @ np.sort(counts).astype(np.float64) / (size * total))


def share_of_top(counts: NDArray[Any], fraction: float) -> float:
    """Return the share of all that the largest counts have, of a fraction of them, at least one.

    >>> share_of_top(np.array([1, 1, 1, 7]), 0.25)
    0.7
    """
    if not counts.sum():
        return 0.0
    top = max(1, round(len(counts) * fraction))
    return float(np.partition(counts, len(counts) - top)[-top:].sum() / counts.sum())


def by_rank(counts: NDArray[Any], points: int = 30) -> list[dict[str, int]]:
    """Return the counts at some ranks, the largest first, the ranks in even steps of their logarithm.

    >>> by_rank(np.array([5, 1, 3]))
    [{'rank': 1, 'interactions': 5}, {'rank': 2, 'interactions': 3}, {'rank': 3, 'interactions': 1}]
    """
    if not len(counts):
        return []
    falling = np.sort(counts)[::-1]
    ranks = np.unique(np.geomspace(1, len(counts), min(points, len(counts) * 4)).round().astype(np.int64))
    return [{"rank": rank, "interactions": int(falling[rank - 1])} for rank in ranks.tolist()]


def describe_interactions(dataset: RecDataset) -> dict[str, Any]:
    """Describe the interactions of a dataset as its reader gives them, duplicates included.

    Returns:
        ``sizes``, ``per_user``, ``per_item``, ``popularity``, ``interactions_by_rank``, ``labels``, ``time`` and
        ``duplicates``. Density is the
        share of the pairs of active users and items that are there.
    """
    table = dataset.interactions
    (user, num_users), (item, num_items) = (numbered_ids(table, name) for name in ("user_id", "item_id"))
    by_user, by_item = np.bincount(user, minlength=num_users), np.bincount(item, minlength=num_items)
    pair = user * max(num_items, 1) + item
    distinct = distinct_count(pair)
    label, time = np.asarray(numbers(table, "rating"), np.float64), np.asarray(numbers(table, "timestamp"), np.int64)
    return {
        "sizes": {
            "interactions": len(table),
            "users": len(dataset.users),
            "items": len(dataset.items),
            "users_with_interactions": num_users,
            "items_with_interactions": num_items,
            "distinct_pairs": distinct,
            "density": distinct / (num_users * num_items) if distinct else 0.0,
        },
        "per_user": spread(by_user) | {"with_one": int((by_user == 1).sum())},
        "per_item": spread(by_item) | {"with_one": int((by_item == 1).sum())},
        "popularity": {
            "gini": round(gini(by_item), 4),
            "share_of_top_1_percent": round(share_of_top(by_item, 0.01), 4),
            "share_of_top_10_percent": round(share_of_top(by_item, 0.1), 4),
        },
        "interactions_by_rank": {"users": by_rank(by_user), "items": by_rank(by_item)},
        "labels": describe_labels(label, dataset),
        "time": {"known": False, "drawn": True} if DRAWN_ORDER in dataset.notes else describe_times(time),
        "duplicates": {"pairs_seen_before": len(table) - distinct, "repeats": dataset.repeats},
    }


def describe_labels(label: NDArray[np.float64], dataset: RecDataset) -> dict[str, Any]:
    """Describe labels: what they mean, their scale, and how often each occurs."""
    low, high = dataset.rating_range
    report: dict[str, Any] = {"feedback": dataset.feedback, "scale": [float(low), float(high)], **spread(label)}
    values, counts = np.unique(label, return_counts=True)  # by sorting
    report["distinct"] = len(values)
    if len(values) <= FEW_LABELS:
        shares = zip(values.tolist(), counts.tolist(), strict=True)
        report["counts"] = [{"label": round(v, 6), "count": n, "share": round(n / len(label), 4)} for v, n in shares]
    return report


def describe_times(time: NDArray[np.int64]) -> dict[str, Any]:
    """Describe times: whether there are any, their span, and how many interactions fall into each stretch of it.

    Times that are no plausible seconds or milliseconds since 1970 are an order alone, and shown as numbers.
    """
    if not len(time) or time.min() == time.max():
        return {"known": False, "equal": bool(len(time) and time[0] != 0)}
    first, last = int(time.min()), int(time.max())
    second = next((unit for unit in (1, 1000) if _DATED[0] * unit <= first and last <= _DATED[1] * unit), None)

    def shown(moment: float) -> str | int:
        return int(moment) if second is None else f"{datetime.fromtimestamp(moment // second, UTC):%Y-%m-%d %H:%M}"

    edges = first + (last - first) / BINS * np.arange(BINS)
    at = ((time - first) / (last - first) * BINS).astype(np.int64)
    counts = np.bincount(np.minimum(at, BINS - 1), minlength=BINS)
    return {
        "known": True,
        "unit": {None: "order", 1: "seconds", 1000: "milliseconds"}[second],
        "first": shown(first),
        "last": shown(last),
        "median": shown(float(np.median(time))),
        "days": None if second is None else round((last - first) / second / 86_400, 2),
        "distinct": distinct_count(time),
        "over_time": [
            {"from": shown(edge), "interactions": int(count)}
            for edge, count in zip(edges.tolist(), counts, strict=True)
        ],
    }
