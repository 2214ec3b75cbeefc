"""Combination: how several saved adapters of one method become one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from llmrec_peft.errors import InputError

How = Literal["linear", "ties", "dare-linear", "dare-ties"]
"""Ways to combine: a weighted sum, TIES (small numbers trimmed, a sign elected for each weight), and DARE (numbers
dropped at random and the rest scaled up), followed by a sum or by TIES."""
HOWS: tuple[str, ...] = get_args(How)
MEANS = ("linear", "dare-linear")
"""Ways that add what the weights leave; the others divide by the number of adapters that agree on a sign."""
LARGEST_WEIGHT = 100.0


@dataclass(frozen=True)
class Combination:
    """How saved adapters become one.

    Attributes:
        weights: Weight of each adapter.
        how: Way to combine.
        density: Share of an update's numbers that TIES and DARE keep, above 0 up to 1.
        seed: Seed of what DARE drops.
    """

    weights: tuple[float, ...]
    how: How = "linear"
    density: float = 0.5
    seed: int = 1

    @classmethod
    def mean(cls, count: int) -> Combination:
        """Return the mean of `count` adapters."""
        return cls((1.0 / count,) * count)

    @classmethod
    def checked(cls, count: int, weights: tuple[float, ...] | None, how: str, density: float, seed: int) -> Combination:
        """Return a combination that a user asked for.

        Args:
            count: Number of adapters.
            weights: Weight of each; by default 1 / count for ways that add, and 1 for those that divide themselves.
            how: Way to combine.
            density: Share of the numbers that is kept.
            seed: Seed of what is dropped.

        Raises:
            InputError: If weights are too few, too many, not finite, too large or all zero, or another value is wrong.
        """
        if how not in HOWS:
            raise InputError(f"--how {how}: adapters are combined by {', '.join(HOWS)}")
        if weights is None:
            weights = (1.0 / count if how in MEANS else 1.0,) * count
        if len(weights) != count:
            raise InputError(f"--weights: {len(weights)} weights for {count} runs")
        for weight in weights:
            if not math.isfinite(weight) or abs(weight) > LARGEST_WEIGHT:
                raise InputError(f"--weights: {weight:g} is no number from -{LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}")
        if not any(weights):
            raise InputError("--weights: all are 0, which leaves no adapter")
        if not 0.0 < density <= 1.0:  # NaN is refused, too
            raise InputError(f"--density {density:g}: the share that is kept is above 0 and at most 1")
        if not 0 <= seed < 1 << 63:
            raise InputError(f"--seed {seed}: a seed is a number from 0 to 2^63 - 1")
        return cls(weights, how, density, seed)  # type: ignore[arg-type] # one of HOWS
