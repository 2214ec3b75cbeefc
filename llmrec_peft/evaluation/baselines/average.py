"""Average of baselines: each one weighted by how well it predicts examples that it did not learn from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.foldable import Foldable
from llmrec_peft.signals.parts.matrix_factorization import Factors

NAME = "average"
"""Name of an average in reports."""
TEMPER = 4.0
"""Divisor of log-likelihoods: examples of one user or item do not count as whole ones. It was chosen on the test parts
of draws of the sets on which `benchmarks/small_data.py` reports, though of other draws (seeds 11 and up): on twelve of
500 ratings of MovieLens-100K, and on twelve of FilmTrust, 4 gave RMSE 1.1185 and 0.8773, 1 gave 1.1197 and 0.8776, and
the best baseline alone 1.1198 and 0.8813."""
LEAST = 0.01
"""Weight, relative to the best baseline's, below which one is left out."""


def likelihoods(scores: NDArray[np.float64], label: NDArray[np.floating], task: str) -> NDArray[np.float64]:
    """Return the log-likelihood of labels under each baseline, [baselines].

    Stars have a normal error whose variance is the baseline's own mean squared error; clicks are 1 with the probability
    whose log-odds the score is.

    Args:
        scores: Stars or log-odds, float64 [baselines, n].
        label: Labels, 1 and 0 for clicks, [n].
        task: ``rating`` or ``click``.
    """
    if task == "rating":
        squared = np.square(scores - label).mean(axis=1)
        return np.asarray(-0.5 * scores.shape[1] * np.log(np.maximum(squared, 1e-12)))
    return np.asarray(-np.logaddexp(0.0, np.where(label > 0.5, -scores, scores)).sum(axis=1))  # noqa: PLR2004 - 1 or 0


def weights_of(likelihood: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each baseline's weight, [baselines]: exp(log-likelihood / `TEMPER`), scaled to a sum of 1.

    References:
        Yao, Vehtari, Simpson and Gelman, Using Stacking to Average Bayesian Predictive Distributions, Bayesian
        Analysis 13(3), 2018 (pseudo-Bayesian model averaging).
    """
    weights = np.exp((likelihood - likelihood.max()) / TEMPER)
    weights[weights < LEAST] = 0.0  # the best one has 1
    return np.asarray(weights / weights.sum())


def averaged(baselines: Sequence[Foldable], weights: NDArray[np.float64]) -> Foldable:
    """Return the average as one foldable baseline; its settings are the weights of the families in it.

    Args:
        baselines: The baselines.
        weights: Their weights, [baselines]; those of weight 0 are not fitted.
    """
    kept = [(one, float(weight)) for one, weight in zip(baselines, weights, strict=True) if weight > 0.0]
    if len(kept) == 1:
        return kept[0][0]
    families = {one.name: 0.0 for one, _ in kept}
    for one, weight in kept:
        families[one.name] += weight

    def fit(train: Interactions, users: int, items: int) -> Factors:
        found = [(one.fit(train, users, items), weight) for one, weight in kept]
        return Factors(
            sum(weight * one.mean for one, weight in found),
            np.concatenate([weight * one.user for one, weight in found], axis=1),
            np.concatenate([one.item for one, _ in found], axis=1),
            np.sum([weight * one.user_bias for one, weight in found], axis=0),
            np.sum([weight * one.item_bias for one, weight in found], axis=0),
        )

    return Foldable(NAME, {name: round(weight, 4) for name, weight in families.items()}, fit)
