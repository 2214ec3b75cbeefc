"""Metrics of clicks by impression: how each list of shown items is ordered, as MIND's evaluation defines it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.evaluation.click_metrics import Floats, Ints, Labels, auc_by_user, binary_examples

CUTOFFS = (5, 10)
"""Lengths of the lists of nDCG."""
PREFIX = "impression_"
IMPRESSION_METRICS = tuple(PREFIX + name for name in ("auc", "mrr", *(f"ndcg@{k}" for k in CUTOFFS)))
"""Means over impressions."""


@dataclass(frozen=True)
class Impressions:
    """Metrics of each impression with both a clicked and an unclicked item.

    Attributes:
        first: First example of each impression, int64 [m].
        values: By the names of `IMPRESSION_METRICS`, one value for each impression, float64 [m].
        left_out: Impressions of one class only, which have no order to be measured.
    """

    first: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]
    left_out: int

    def __len__(self) -> int:
        return len(self.first)

    def report(self) -> dict[str, float]:
        """Return the means over impressions, and how many are left out; no means if none is measured."""
        means = {name: float(values.mean()) for name, values in self.values.items()} if len(self) else {}
        return {**means, f"{PREFIX}left_out": self.left_out}


def by_impression(scores: Floats, labels: Labels, impression: Ints) -> Impressions:
    """Compute AUC, MRR and nDCG at 5 and 10 of each impression.

    With the items of an impression sorted by falling score and c of them clicked, MRR is 1/c · Σ 1 / place over the
    clicked ones, and nDCG@k is Σ 1 / log₂(place + 1) over those among the first k, divided by its value if all clicked
    ones came first. Items of one score have the mean of what their places give, so that no order of the file decides;
    without ties these are the figures of MIND's script.

    Args:
        scores: [n], any monotone score.
        labels: [n], 0 or 1.
        impression: Number of each example's impression, [n].

    Raises:
        ValueError: If a label is neither 0 nor 1, or a score is NaN.

    References:
        Wu et al., MIND: A Large-scale Dataset for News Recommendation, ACL 2020, section 5.1; evaluate.py of
        https://github.com/msnews/MIND (its MRR is that of Wu et al.: a mean over all clicked items, not the first).
    """
    score, positive = binary_examples(scores, labels)
    shown = np.asarray(impression, np.int64)
    names, area = auc_by_user(score, positive, shown)
    every, first, size = np.unique(shown, return_index=True, return_counts=True)
    measured = np.isin(every, names)
    order = np.lexsort((-score, shown))
    start = np.repeat(np.cumsum(size) - size, size)
    place = np.arange(len(shown)) - start  # from 0
    hit = positive[order].astype(np.float64)
    tied = np.r_[0, np.cumsum((shown[order][1:] != shown[order][:-1]) | (score[order][1:] != score[order][:-1]))]
    of = np.repeat(np.arange(len(every)), size)
    clicked = np.bincount(of, hit, len(every))
    gains = {"mrr": 1.0 / (place + 1.0)} | {
        f"ndcg@{k}": np.where(place < k, 1.0 / np.log2(place + 2.0), 0.0) for k in CUTOFFS
    }
    values = {PREFIX + "auc": area}
    for name, gain in gains.items():
        shared = (np.bincount(tied, gain) / np.bincount(tied))[tied]
        most = clicked if name == "mrr" else np.bincount(of, gain * (place < clicked[of]), len(every))
        values[PREFIX + name] = np.bincount(of, hit * shared, len(every))[measured] / most[measured]
    return Impressions(first[measured].astype(np.int64), values, int((~measured).sum()))
