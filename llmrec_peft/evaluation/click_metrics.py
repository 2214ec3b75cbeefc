"""Metrics of predicted clicks, in numpy: order of clicked and other examples, and calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.order import distinct_count
from llmrec_peft.errors import NotFiniteError

Floats = NDArray[np.floating]
Labels = NDArray[np.floating] | NDArray[np.integer] | NDArray[np.bool_]
Ints = NDArray[np.integer]

CLIP = float(np.finfo(np.float32).eps)
"""Minimum distance of a probability from 0 and 1 in `log_loss`: single precision's resolution, in which heads score,
so that the result does not depend on the dtype of stored scores."""
BINS = 15
"""Bins of `ece`, as in the paper."""


def auc(scores: Floats, labels: Labels) -> float:
    """Compute the area under the ROC curve: P(s⁺ > s⁻) + ½ P(s⁺ = s⁻) over all pairs of a positive and a negative.

    Args:
        scores: [n], any monotone score.
        labels: [n], 0 or 1.

    Returns:
        In [0, 1]; ½ for scores without information.

    Raises:
        ValueError: If all labels are of one class, a label is neither 0 nor 1, or a score is NaN.

    References:
        Hanley and McNeil, The Meaning and Use of the Area under a ROC Curve, Radiology 143(1), 1982.
    """
    score, positive = binary_examples(scores, labels)
    if positive.all() or not positive.any():
        raise ValueError(f"AUC needs both classes: all {len(positive)} labels are {int(positive.any())}")
    _, values, _ = _by_user(score, positive, np.zeros(len(score), np.int64))
    return float(values[0])


def log_loss(probability: Floats, labels: Labels) -> float:
    """Compute the mean of -y log p - (1 - y) log(1 - p), natural logarithm, p clipped to `CLIP` from 0 and 1.

    Args:
        probability: [n] in [0, 1], n > 0.
        labels: [n], 0 or 1.

    Raises:
        ValueError: If a label is neither 0 nor 1, or a probability is not in [0, 1].
    """
    return float(np.mean(log_losses(probability, labels)))


def log_losses(probability: Floats, labels: Labels) -> NDArray[np.float64]:
    """Return the terms of `log_loss`, [n]."""
    given, positive = binary_examples(probability, labels)
    _in_unit_interval(given)
    clipped = np.clip(given, CLIP, 1.0 - CLIP)
    return -np.where(positive, np.log(clipped), np.log1p(-clipped))


@dataclass(frozen=True)
class UserMeanAuc:
    """Mean of users' own AUCs.

    Attributes:
        value: The mean over `users`, each with equal weight.
        users: Users with both classes.
        left_out: Users with one class only, for whom AUC is undefined.
    """

    value: float
    users: int
    left_out: int


def user_auc(scores: Floats, labels: Labels, user: Ints) -> UserMeanAuc:
    """Compute the mean over users of each user's own AUC, which ignores differences between users' click rates.

    Args:
        scores: [n].
        labels: [n], 0 or 1.
        user: User index of each example, [n].

    Raises:
        ValueError: If no user has both classes, or as for `auc`.

    References:
        Zhu et al., Optimized Cost per Click in Taobao Display Advertising, KDD 2017 (there weighted by
        impressions; here users have equal weights).
    """
    users, values = auc_by_user(scores, labels, user)
    if not len(users):
        raise ValueError("AUC by user needs a user with both classes: every user's labels are all 0 or all 1")
    return UserMeanAuc(float(values.mean()), len(users), distinct_count(user) - len(users))


def auc_by_user(scores: Floats, labels: Labels, user: Ints) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the indices of the users with both classes, ascending, and their AUCs."""
    score, positive = binary_examples(scores, labels)
    names, values, pairs = _by_user(score, positive, np.asarray(user, np.int64))
    return names[pairs > 0], values[pairs > 0]


def ece(probability: Floats, labels: Labels, bins: int = BINS) -> float:
    """Compute the expected calibration error Σ_b n_b / n · |mean label - mean probability| over bins of equal width.

    A bin includes its lower edge, the last one both. The result is above zero by chance if bins have few examples,
    even for perfect probabilities.

    Args:
        probability: Probability of a positive, [n] in [0, 1], n > 0.
        labels: [n], 0 or 1.
        bins: At least 1.

    Raises:
        ValueError: If a label is neither 0 nor 1, or a probability is not in [0, 1].

    References:
        Naeini, Cooper and Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015.
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 2 (15 bins).
    """
    given, positive = binary_examples(probability, labels)
    _in_unit_interval(given)
    edges = np.arange(bins + 1) / bins  # each the double nearest to its fraction, unlike those of linspace
    place = np.minimum(np.searchsorted(edges, given, side="right") - 1, bins - 1)
    return float(np.abs(np.bincount(place, positive - given)).sum() / len(given))


CLICK_METRICS: dict[str, Callable[[Floats, Labels, Ints], float]] = {
    "auc": lambda scores, labels, user: auc(scores, labels),
    "log_loss": lambda scores, labels, user: log_loss(scores, labels),
    "uauc": lambda scores, labels, user: user_auc(scores, labels, user).value,
    "ece": lambda scores, labels, user: ece(scores, labels),
}
"""Metrics of every click report, of probabilities [n], labels [n] and user indices [n]."""


def click_report(scores: Floats, labels: Labels, user: Ints) -> dict[str, float]:
    """Compute all click metrics of one prediction, and the number of users that ``uauc`` leaves out.

    Args:
        scores: Probabilities, [n], n > 0.
        labels: [n], 0 or 1.
        user: User index of each example, [n].

    Returns:
        ``auc``, ``log_loss``, ``uauc``, ``ece``, ``uauc_users_left_out``. If the examples have one class only, as in
        small slices, there is no ``auc``; if no user has both, there is no ``uauc``.
    """
    mixed = len(auc_by_user(scores, labels, user)[0])
    defined = {"auc": len(np.unique(labels)) > 1, "uauc": mixed > 0}
    report = {name: m(scores, labels, user) for name, m in CLICK_METRICS.items() if defined.get(name, True)}
    return {**report, "uauc_users_left_out": distinct_count(user) - mixed}


def binary_examples(scores: Floats, labels: Labels) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return scores as float64 [n] and labels as bool [n].

    Raises:
        ValueError: If there are none, a label is neither 0 nor 1, or a score is NaN.
    """
    score, label = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    if score.shape != label.shape or score.ndim != 1:
        raise ValueError(f"scores and labels are one row of numbers each: shapes {score.shape} and {label.shape}")
    if not len(score):
        raise ValueError("there is no example to measure")
    if np.isnan(score).any():
        raise NotFiniteError(f"{int(np.isnan(score).sum())} of {len(score)} scores are not numbers")
    positive = label == 1.0
    if not (positive | (label == 0.0)).all():
        raise ValueError(f"labels are 0 or 1: {label[~(positive | (label == 0.0))][0]:g} is neither")
    return score, positive


def _by_user(
    score: NDArray[np.float64], positive: NDArray[np.bool_], user: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return users, their AUCs (0 without pairs), and their numbers of pairs, by one sort for all of them."""
    order = np.lexsort((score, user))
    score, hit, user = score[order], positive[order].astype(np.float64), user[order]
    names, start = np.unique(user, return_index=True)
    stop = np.append(start[1:], len(user))
    # examples of one user and score form a run; a positive beats the negatives before its run and ties with its own
    begin = np.flatnonzero(np.r_[True, (user[1:] != user[:-1]) | (score[1:] != score[:-1])])
    end = np.append(begin[1:], len(user))
    negatives = np.r_[0.0, np.cumsum(1.0 - hit)]  # before each place
    beaten = np.repeat((negatives[begin] + negatives[end]) / 2.0, end - begin) - np.repeat(
        negatives[start], stop - start
    )
    wins = np.add.reduceat(hit * beaten, start)
    pairs = np.add.reduceat(hit, start) * (negatives[stop] - negatives[start])
    return names, wins / np.maximum(pairs, 1.0), pairs


def _in_unit_interval(probability: NDArray[np.float64]) -> None:
    outside = (probability < 0.0) | (probability > 1.0)
    if outside.any():
        raise ValueError(f"probabilities lie in [0, 1]: {probability[outside][0]:g} does not")
