"""Order of interactions whose times nobody published: drawn at random, since a file's order often tells something."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NOTE = "no times are known: the order of interactions was drawn at random"
"""What is noted of such interactions."""
_SEED = 0


def drawn_order(count: int) -> NDArray[np.int64]:
    """Return a number for each of some interactions, in the place of its time, int64 [n]; always the same ones.

    With ``data.split: leave-last-out`` the test is then a random interaction of each user.
    """
    return np.random.default_rng(_SEED).permutation(count).astype(np.int64)
