"""Unit vectors of items' texts, computed with one copy of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 16_384
"""Vectors that are divided by their lengths together."""


def unit_vectors(vectors: Tensor, centred: bool = False) -> NDArray[np.float32]:
    """Return vectors divided by their lengths, float32 [n, width].

    Args:
        vectors: [n, width].
        centred: Whether the mean vector is subtracted first.
    """
    given = vectors.detach().float().cpu().numpy()
    unit: NDArray[np.float32] = given - given.mean(0) if centred else np.array(given, np.float32)
    for at in range(0, len(unit), ROWS):
        some = unit[at : at + ROWS]
        some /= np.maximum(np.linalg.norm(some, axis=1, keepdims=True), 1e-9)
    return unit
