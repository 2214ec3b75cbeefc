"""Kernels: how much an outcome on one item predicts that on another, as a weighted sum of similarities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

EFFECT_SCALE, POPULARITY_CENTRE = 5.0, 2.5
"""Factor on item effects (a few tenths), and centre of log(1 + outcomes): both inputs get the order of 1."""


@dataclass(frozen=True)
class Points:
    """Items as inputs of the kernel.

    Attributes:
        effect: Item effects, float32 [B, n].
        popularity: log(1 + outcomes), float32 [B, n].
        columns: Standardized columns, float32 [B, n, c].
        texts: Centred text vectors of length 1, float32 [B, n, width]; None if texts are not read.
    """

    effect: Tensor
    popularity: Tensor
    columns: Tensor
    texts: Tensor | None


class Kernel(nn.Module):
    """k = v_0 + Σ_d v_d e^(−|Δt|/τ_d) + v_t cos + v_u cos e^(−|Δt|/τ_u) + Σ_s v_s s s' + Σ_c v_c e^(−|Δc|/τ_c).

    s runs over effect, popularity and columns, c over columns; all weights and scales are positive and learnt.
    """

    def __init__(self, columns: int, text: bool, text_drift: bool, drift: Sequence[float]) -> None:
        """Make the weights.

        Args:
            columns: Number of columns.
            text: Whether texts are compared.
            text_drift: Whether similarities of texts also fade with time.
            drift: Initial time scales of drifts, in days.
        """
        super().__init__()
        start = {"constant": [0.3], "drift": [0.2] * len(drift), "slopes": [0.05] * (2 + columns)}
        start["distance"] = [0.1] * columns
        if text:
            start["text"] = [0.2]
        if text_drift:
            start["text_drift"] = [0.1]
        logs = {name: nn.Parameter(torch.tensor(values).log()) for name, values in start.items() if values}
        self.log_weight = nn.ParameterDict(logs)
        scales = {"drift": list(drift), "distance": [0.5] * columns, "text_drift": [5.0] if text_drift else []}
        self.log_scale = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(values).log()) for name, values in scales.items() if values}
        )

    def forward(self, first: Points, second: Points, age: Tensor | None, other: Tensor | None) -> Tensor:
        """Return the kernel of every pair, float32 [B, n, m].

        Args:
            first: n items per row.
            second: m items per row.
            age: Days from outcomes on the first items to the prediction, [B, n]; None if times are not known.
            other: Days from outcomes on the second items, [B, m]; None for the moment of the prediction.
        """
        kernel: Tensor = (
            self.log_weight["constant"].exp() + self._slopes(first, second) + self._distances(first, second)
        )
        apart = None
        if age is not None and ("drift" in self.log_weight or "text_drift" in self.log_weight):
            apart = (age.unsqueeze(2) - (torch.zeros_like(age[:, :1]) if other is None else other).unsqueeze(1)).abs()
        if apart is not None and "drift" in self.log_weight:
            weights, scales = self.log_weight["drift"].exp(), self.log_scale["drift"].exp()
            for weight, scale in zip(weights, scales, strict=True):
                kernel = kernel + weight * torch.exp(-apart / scale)
        if first.texts is not None and second.texts is not None:
            alike = first.texts @ second.texts.transpose(1, 2)
            if "text" in self.log_weight:
                kernel = kernel + self.log_weight["text"].exp() * alike
            if apart is not None and "text_drift" in self.log_weight:
                faded = torch.exp(-apart / self.log_scale["text_drift"].exp())
                kernel = kernel + self.log_weight["text_drift"].exp() * alike * faded
        return kernel

    def at_once(self, points: Points, timed: bool) -> Tensor:
        """Return the kernel of each item with itself, float32 [B, n], without drifts if times are not known."""
        slopes = self._sides(points).pow(2) @ self.log_weight["slopes"].exp()
        total: Tensor = slopes
        for name in ("constant", "text", "distance", *(("drift", "text_drift") if timed else ())):
            if name in self.log_weight:
                total = total + self.log_weight[name].exp().sum()
        return total

    def _sides(self, points: Points) -> Tensor:
        """Return the inputs of the product terms, [B, n, 2 + c]."""
        inputs = [points.effect * EFFECT_SCALE, points.popularity - POPULARITY_CENTRE]
        return torch.cat([torch.stack(inputs, dim=-1), points.columns], dim=-1)

    def _slopes(self, first: Points, second: Points) -> Tensor:
        weighted: Tensor = self._sides(first) * self.log_weight["slopes"].exp()
        return weighted @ self._sides(second).transpose(1, 2)

    def _distances(self, first: Points, second: Points) -> Tensor | float:
        if "distance" not in self.log_weight:
            return 0.0
        apart = (first.columns.unsqueeze(2) - second.columns.unsqueeze(1)).abs()
        near: Tensor = torch.exp(-apart / self.log_scale["distance"].exp()) @ self.log_weight["distance"].exp()
        return near

    def report(self) -> dict[str, Any]:
        """Return weights and scales as plain figures."""
        weights = {name: [round(float(v), 4) for v in values.exp()] for name, values in self.log_weight.items()}
        scales = {f"{name}_scale": [round(float(v), 4) for v in t.exp()] for name, t in self.log_scale.items()}
        return {**weights, **scales}


@dataclass(frozen=True)
class Posterior:
    """A Gaussian process conditioned on B users' outcomes, which predicts any items.

    Attributes:
        kernel: The process's kernel.
        entries: Items of the outcomes, [B, L].
        age: Days from the outcomes to the prediction, [B, L]; None if times are not known.
        there: 1 where there is an outcome, float32 [B, L].
        lower: Cholesky factor of the outcomes' covariance, [B, L, L].
        solved: Covariance⁻¹ residuals, [B, L, 1].
    """

    kernel: Kernel
    entries: Points
    age: Tensor | None
    there: Tensor
    lower: Tensor
    solved: Tensor

    def at(self, items: Points) -> tuple[Tensor, Tensor]:
        """Predict items, [B or 1, C].

        Returns:
            What each outcome adds to the posterior mean, [B, L, C], and the posterior variance, [B, C].
        """
        across = self.kernel(self.entries, items, self.age, None) * self.there.unsqueeze(-1)
        spread = torch.linalg.solve_triangular(self.lower, across, upper=False)
        prior = self.kernel.at_once(items, self.age is not None)
        return across * self.solved, (prior - spread.pow(2).sum(1)).clamp(min=0.0)
