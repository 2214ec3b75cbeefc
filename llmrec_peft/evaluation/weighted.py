"""Weighted figures: metrics of fixed predictions as functions of how often each example is repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.evaluation.click_metrics import Labels, auc_by_user, binary_examples, log_losses
from llmrec_peft.evaluation.impression_metrics import Impressions

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
Weights = NDArray[np.float64]

Figure = Callable[[Weights], float]
"""A metric of fixed predictions as a function of example weights, float64 [n], non-negative: the metric with each
example repeated as often as its weight says. NaN if the weighted examples leave it undefined."""
EXACT = 200_000
"""Examples up to which AUC is resampled exactly; more of them by its linear part."""


@dataclass(frozen=True, eq=False)
class SumFigure:
    """A figure of weighted sums, f(Σ w x_1, Σ w x_2, …), so that it can be resampled by the sums of clusters.

    Attributes:
        columns: x_1, x_2, …, float64 [n] each.
        of: f, from the sums, [number of columns, …]: of one draw, or of many at once.
        units: What is repeated as a whole only, such as users, int [n]; None for single examples.
        mean_over: What the figure is called, and whose numbers `units` are, for messages.
    """

    columns: tuple[NDArray[np.float64], ...]
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    units: Ints | None = None
    mean_over: str = "AUC by user"

    def __call__(self, weights: Weights) -> float:
        """Compute the figure."""
        self.require_whole(weights)
        return self.value(np.array([_dot(weights, column) for column in self.columns]))

    def value(self, sums: NDArray[np.float64]) -> float:
        """Compute the figure from its sums, [number of columns]; NaN where it divides by zero."""
        return float(self.values(sums))

    def values(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the figure of many draws, [draws], from their sums, [number of columns, draws]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.of(sums)

    def require_whole(self, values: NDArray[np.number]) -> None:
        """Refuse weights, or numbers of clusters, [n], that differ within a unit.

        Raises:
            ValueError: If they do.
        """
        if self.units is not None:
            _, first, place = np.unique(self.units, return_index=True, return_inverse=True)
            if not np.array_equal(values, values[first][place]):
                raise ValueError(
                    f"{self.mean_over} is resampled by whole {self.mean_over.rpartition(' ')[2]}s: examples of one have"
                    " unequal weights"
                )


def rmse_figure(predicted: Floats, observed: Floats) -> Figure:
    """Return the root mean squared error of predictions [n] of ratings [n], as a function of weights."""
    squares = (np.asarray(predicted, np.float64) - observed) ** 2
    return SumFigure((squares, np.ones(len(squares))), lambda sums: np.sqrt(sums[0] / sums[1]))


def mae_figure(predicted: Floats, observed: Floats) -> Figure:
    """Return the mean absolute error of predictions [n] of ratings [n], as a function of weights."""
    return mean_figure(np.abs(np.asarray(predicted, np.float64) - observed))


def mean_figure(gains: Floats, share: Floats | None = None) -> Figure:
    """Return the mean of each example's gain: HR, NDCG or MRR, by `hits_at_k`, `gains_at_k`, `reciprocal_ranks`.

    Args:
        gains: [n].
        share: Weight of each example in the mean, [n]; 1 by default.
    """
    own = np.asarray(gains, np.float64)
    part = np.ones(len(own)) if share is None else np.asarray(share, np.float64)
    return SumFigure((own if share is None else own * part, part), _ratio)


def log_loss_figure(probability: Floats, labels: Labels) -> Figure:
    """Return the logarithmic loss of probabilities [n] of labels [n], as a function of weights."""
    return mean_figure(log_losses(probability, labels))


def auc_figure(scores: Floats, labels: Labels) -> Figure:
    """Return the area under the ROC curve of scores [n] on labels [n], as a function of weights; ties count half.

    Scores are sorted once, so that each evaluation costs O(n). With integer weights all sums are exact, and the result
    is `auc` of the repeated examples to the last digit. Of more than `EXACT` examples the figure is linear in the
    weights of each class: Σ w₊ p₊ / Σ w₊ + Σ w₋ p₋ / Σ w₋ - AUC, with p an example's placement, the share of the other
    class that it is on the right side of. Equal weights give the AUC; what is left out is of the order 1 / n, where
    intervals are of the order 1 / √n.

    References:
        DeLong, DeLong and Clarke-Pearson, Comparing the Areas under Two or More Correlated Receiver Operating
        Characteristic Curves, Biometrics 44(3), 1988.
    """
    score, positive = binary_examples(scores, labels)
    hit, miss = np.flatnonzero(positive), np.flatnonzero(~positive)
    miss = miss[np.argsort(score[miss], kind="stable")]
    below, up_to = (np.searchsorted(score[miss], score[hit], side) for side in ("left", "right"))
    if len(score) > EXACT and len(hit) and len(miss):
        return _linear_auc(score, hit, miss, (below + up_to) / 2.0)

    def figure(weights: Weights) -> float:
        negatives = np.concatenate([[0.0], np.cumsum(weights[miss])])  # total weight of the k lowest negatives
        positives = weights[hit]
        wins = _dot(positives, negatives[below] + negatives[up_to]) / 2.0
        pairs = positives.sum() * negatives[-1]
        return float(wins / pairs) if pairs > 0.0 else np.nan

    return figure


def _linear_auc(
    score: NDArray[np.float64], hit: NDArray[np.int64], miss: NDArray[np.int64], beaten: NDArray[np.float64]
) -> Figure:
    """Return AUC by the placements of examples.

    Args:
        score: [n].
        hit: Rows of positives.
        miss: Rows of negatives, by score.
        beaten: Negatives that each positive beats, ties as a half.
    """
    placed, ones = np.zeros((2, len(score))), np.zeros((2, len(score)))
    placed[0, hit] = beaten / len(miss)
    ordered = np.sort(score[hit])
    behind = sum(np.searchsorted(ordered, score[miss], side) for side in ("left", "right")) / 2.0
    placed[1, miss] = 1.0 - behind / len(hit)
    ones[0, hit] = ones[1, miss] = 1.0
    area = float(placed[0, hit].mean())
    return SumFigure((*placed, *ones), lambda sums: sums[0] / sums[2] + sums[1] / sums[3] - area)


def user_auc_figure(scores: Floats, labels: Labels, user: Ints) -> Figure:
    """Return the mean over users of AUC within a user, of scores [n], labels [n] and user indices [n].

    It accepts weights that are constant within a user, since only whole users can be repeated; it raises ValueError on
    others, such as those of resampled items.
    """
    names, values = auc_by_user(scores, labels, user)
    every, first = np.unique(user, return_index=True)
    at = first[np.isin(every, names)]
    of_users, ones = np.zeros((2, len(user)))
    of_users[at], ones[at] = values, 1.0  # a user's AUC stands at the first of the user's examples
    return SumFigure((of_users, ones), _ratio, np.asarray(user))


def impression_figure(found: Impressions, metric: str, impression: Ints) -> Figure:
    """Return a mean over impressions as a function of weights that are constant within an impression.

    Args:
        found: Metrics of each impression.
        metric: One of `IMPRESSION_METRICS`.
        impression: Number of each example's impression, [n].
    """
    value, ones = np.zeros((2, len(impression)))
    value[found.first], ones[found.first] = found.values[metric], 1.0
    return SumFigure((value, ones), _ratio, np.asarray(impression), "a mean by impression")


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = sums[0] / sums[1]
    return ratio


def _dot(weights: Weights, values: NDArray[np.float64]) -> float:
    """Compute Σ w v on one thread: BLAS with several threads takes six times as long on a busy machine."""
    return float((weights * values).sum())
