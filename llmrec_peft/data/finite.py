"""Finite: numbers that are nan or infinite are no result, and are refused where they come up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.errors import NotFiniteError


def require_finite(values: NDArray[Any], what: str) -> None:
    """Refuse numbers of which one is nan or infinite.

    Args:
        values: Numbers of any shape.
        what: What they are, in the plural, for the message.

    Raises:
        NotFiniteError: With how many are not, and the first of them.
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    wrong = np.flatnonzero(~np.isfinite(flat))
    if len(wrong):
        raise NotFiniteError(
            f"{len(wrong)} of {len(flat)} {what} are not finite: number {wrong[0]} is {flat[wrong[0]]}"
        )
