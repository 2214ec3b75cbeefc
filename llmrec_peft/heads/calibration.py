"""Calibration: scores as probabilities, fitted on validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.finite import require_finite

if TYPE_CHECKING:
    from torch import Tensor, nn

Calibration = Literal["none", "platt", "isotonic"]
KNOTS = 64
"""Points of an isotonic calibrator's curve, at most."""
SLOPE = 1e-4
"""Slope of an isotonic curve's flat pieces, so that no two scores change places or become equal."""


def parameters(kind: Calibration) -> nn.ParameterDict:
    """Return a calibrator's initial tensors, frozen; they change nothing."""
    import torch
    from torch import nn

    start: dict[str, Tensor] = {}
    if kind == "platt":
        start = {"slope": torch.ones(1), "intercept": torch.zeros(1)}
    elif kind == "isotonic":
        knots = torch.linspace(-12.0, 12.0, KNOTS)
        start = {"logit": knots, "probability": knots.sigmoid()}
    return nn.ParameterDict({name: nn.Parameter(value, requires_grad=False) for name, value in start.items()})


def apply(kind: Calibration, tensors: Any, logit: Tensor) -> Tensor:
    """Return probabilities of logits, float32 of the same shape; strictly increasing, so that ranks and AUC stay."""
    import torch

    if kind == "platt":
        return torch.sigmoid(tensors["slope"] * logit + tensors["intercept"])
    if kind == "none":
        return torch.sigmoid(logit)
    x, y = tensors["logit"], tensors["probability"]
    inside = logit.clamp(float(x[0]), float(x[-1])).contiguous()
    right = torch.searchsorted(x, inside).clamp(1, len(x) - 1)
    left = right - 1
    share = ((inside - x[left]) / (x[right] - x[left]).clamp(min=1e-9)).clamp(0.0, 1.0)
    curve: Tensor = y[left] + share * (y[right] - y[left])
    return (1.0 - SLOPE) * curve + SLOPE * torch.sigmoid(logit)


def fitted(
    kind: Calibration, probability: NDArray[np.floating], observed: NDArray[np.floating]
) -> dict[str, NDArray[np.float32]]:
    """Fit a calibrator.

    Args:
        kind: ``platt`` (σ(a · logit + b) by maximum likelihood with Platt's smoothed targets, a > 0)
            or ``isotonic`` (the monotone curve of least squared error).
        probability: Uncalibrated probabilities, [n].
        observed: 1 or 0, [n].

    Returns:
        The calibrator's tensors by name.

    References:
        Platt, Probabilistic Outputs for Support Vector Machines, 1999.
        Zadrozny and Elkan, Transforming Classifier Scores into Accurate Multiclass Probability Estimates, KDD 2002.
    """
    from scipy.optimize import isotonic_regression, minimize
    from scipy.special import expit, logit

    require_finite(probability, "scores to calibrate")
    x = logit(np.clip(np.asarray(probability, np.float64), 1e-9, 1.0 - 1e-9))
    y = np.asarray(observed, np.float64)
    if kind == "platt":
        positives, negatives = y.sum(), len(y) - y.sum()
        target = np.where(y > 0.5, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))  # noqa: PLR2004

        def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            z = np.exp(theta[0]) * x + theta[1]
            residual = expit(z) - target
            value = float(np.mean(np.logaddexp(0.0, z) - target * z))
            return value, np.array([np.mean(residual * x) * np.exp(theta[0]), residual.mean()])

        best = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-5.0, 5.0), (-20.0, 20.0)]).x
        return {
            "slope": np.array([np.exp(best[0])], np.float32),
            "intercept": np.array([best[1]], np.float32),
        }
    values, place, count = np.unique(x, return_inverse=True, return_counts=True)  # equal scores get one probability
    curve = isotonic_regression(np.bincount(place, y) / count, weights=count.astype(np.float64)).x
    curve = np.clip(curve, 0.5 / len(y), 1.0 - 0.5 / len(y))
    at = np.unique(np.linspace(0, len(values) - 1, KNOTS).astype(int))
    knots, heights = values[at], curve[at]
    missing = KNOTS - len(at)
    pad = knots[-1] + 1e-3 * np.arange(1, missing + 1)
    return {
        "logit": np.concatenate([knots, pad]).astype(np.float32),
        "probability": np.concatenate([heights, np.full(missing, heights[-1])]).astype(np.float32),
    }
