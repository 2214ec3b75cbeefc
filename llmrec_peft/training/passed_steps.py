"""PassedSteps: what AdamW and the moving average do to rows without a gradient, over many steps at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FIRST_ROOM = 256
"""Steps for which there is room at first; it doubles when they are used up."""
ONES = [0, 1, 2, 5]
"""Factors that are 1 where no step has been taken: γⁿ, (β₁ / β₂)ⁿ, D and E."""


@dataclass(frozen=True)
class Rates:
    """What a step does to a row.

    Attributes:
        rate: Learning rate.
        decay: Weight decay λ.
        average: Decay of the moving average in this step; 1 for none.
    """

    rate: float
    decay: float
    average: float = 1.0


class PassedSteps:
    """Factors that bring a row from the step up to which it is computed to the newest one.

    Without a gradient, step j multiplies a row p by 1 − η_j λ and subtracts η_j m_j / (1 − β₁^j) over
    √(v_j / (1 − β₂^j)) + ε, where m and v shrink by β₁ and β₂ a step; the moving average a becomes d_j a + (1 − d_j) p.
    But for ε all of this is linear in p, a and m / √v. Over any number of steps it is therefore

        p' = D p − K m / (√v + ε e)        a' = E a + F p − G m / (√v + ε f)        m' = β₁ⁿ m        v' = β₂ⁿ v

    with factors that depend on the first step alone, the same for all rows of a table. e and f are what ε is
    multiplied with on average over the steps, weighed by what they move: exact up to (ε / √v)².

    References:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019.
    """

    def __init__(self, betas: tuple[float, float], first: int, device: torch.device) -> None:
        """Begin with rows that are all computed up to step `first`.

        Args:
            betas: Decays of AdamW's moments.
            first: Steps that are done.
            device: Device of the rows.
        """
        self.betas, self.first, self.now = betas, first, first
        self.taken: list[Rates] = []
        self._factors = _untouched(device)

    def __len__(self) -> int:
        return self.now - self.first

    def take(self, rates: Rates) -> None:
        """Add a step behind the newest."""
        place = len(self)
        if place + 2 > self._factors.shape[1]:  # the step after the newest stands there, too
            room = torch.zeros_like(self._factors)
            room[ONES] = 1.0
            self._factors = torch.cat([self._factors, room], dim=1)
        self.now += 1
        self.taken.append(rates)
        first, second = self.betas
        root = (1.0 - second**self.now) ** 0.5
        size = rates.rate * root / (1.0 - first**self.now)
        held, average = 1.0 - rates.rate * rates.decay, rates.average
        momentum, by_eps, decayed, drift, drift_eps, kept, own, moved, moved_eps = self._factors[:, : place + 1]
        momentum *= first / second**0.5
        by_eps *= first / second
        decayed *= held
        drift.mul_(held).add_(momentum, alpha=size)
        drift_eps.mul_(held).add_(by_eps, alpha=size * root)
        kept *= average
        for total, newest in ((own, decayed), (moved, drift), (moved_eps, drift_eps)):
            total.mul_(average).add_(newest, alpha=1.0 - average)

    def since(self, step: Tensor) -> tuple[Tensor, ...]:
        """Return the factors D, K, e, E, F, G, f, β₁ⁿ, β₂ⁿ of rows by the step up to which they are computed.

        Args:
            step: Step of each row, int64 [n].

        Returns:
            Nine times float32 [n, 1].
        """
        _, _, decayed, drift, drift_eps, kept, own, moved, moved_eps = self._factors[:, : len(self) + 1]
        count = torch.arange(len(self), -1, -1, dtype=torch.float64, device=step.device)
        moments = [beta**count for beta in self.betas]
        eps, by_eps = (part / whole.clamp(min=1e-300) for part, whole in ((drift_eps, drift), (moved_eps, moved)))
        factors = torch.stack([decayed, drift, eps, kept, own, moved, by_eps, *moments], dim=1).float()
        return torch.split(factors.index_select(0, step - self.first), 1, dim=1)


def _untouched(device: torch.device) -> Tensor:
    """Return the factors of steps to come: the identity."""
    factors = torch.zeros(9, FIRST_ROOM, dtype=torch.float64, device=device)
    factors[ONES] = 1.0
    return factors
