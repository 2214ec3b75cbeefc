"""Made-up people in circles of friends: a circle shares its taste, and nobody rates much.

Each film has one of as many kinds as there are circles. Who belongs to a circle likes its kind and dislikes the next
one; people differ in how generous they are, and so do circles. Most links stay inside a circle, and some go only one
way. Some people have rated nothing: only those whom they trust tell their taste.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmrec_recipes.social.found import Found, Network

if TYPE_CHECKING:
    import pyarrow as pa

CIRCLES, MEMBERS, FILMS = 6, 20, 90
RATINGS = 9
"""Ratings of a person who rates at all, on average."""
SILENT = 0.1
"""Share of people who have rated nothing."""
FRIENDS, STRANGERS = 0.3, 0.01
"""Chances that a person trusts one of the own circle, and of another."""


def demo_found(seed: int) -> Found:
    """Make up people, films, ratings from 0.5 to 4, and trust; ids are "P1", ... and "F1", ...

    Args:
        seed: Seed of all random draws.
    """
    import pyarrow as pa

    rng = np.random.default_rng([seed, 15])
    circle, kind = np.repeat(np.arange(CIRCLES), MEMBERS), rng.integers(0, CIRCLES, FILMS)
    generous = rng.normal(0.0, 0.4, CIRCLES)[circle] + rng.normal(0.0, 0.3, len(circle))
    quality = rng.normal(0.0, 0.4, FILMS)
    rated = (rng.random((len(circle), FILMS)) < RATINGS / FILMS) & (rng.random(len(circle)) >= SILENT)[:, None]
    user, film = np.nonzero(rated)
    liked = 1.0 * (kind[film] == circle[user]) - 0.7 * (kind[film] == (circle[user] + 1) % CIRCLES)
    exact = 2.5 + liked + generous[user] + quality[film] + rng.normal(0.0, 0.4, len(user))
    films = _names("F", np.arange(FILMS))
    return Found(
        name="made-up circles of friends",
        user=_names("P", user),
        item=_names("F", film),
        rating=np.clip(np.round(2.0 * exact) / 2.0, 0.5, 4.0).astype(np.float32),
        items=films,
        titles=pa.array([""] * FILMS, pa.string()),
        rating_range=(0.5, 4.0),
        implicit=False,
        network=_trust(circle, rng),
        links_file="made-up trust",
        licence="Made up by this package with a fixed seed; nobody's ratings and nobody's friends.",
        notes=("this data is made up: it shows what the suite does, not how well it does on yours",),
    )


def _trust(circle: NDArray[np.int64], rng: np.random.Generator) -> Network:
    """Return who trusts whom."""
    chance = np.where(circle[:, None] == circle, FRIENDS, STRANGERS)
    truster, trustee = np.nonzero(rng.random(chance.shape) < chance)
    return Network.of("made-up trust", _names("P", truster), _names("P", trustee), mutual=False)


def _names(letter: str, numbers: NDArray[np.int64]) -> pa.Array:
    import pyarrow as pa

    return pa.array([f"{letter}{number + 1}" for number in numbers.tolist()], pa.string())
