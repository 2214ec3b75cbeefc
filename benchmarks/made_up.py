"""Made-up ratings of any size, the same for the same seed: popularity by Zipf's law, tastes that texts tell of.

    from made_up import made_up

    dataset = made_up(10_000_000, users=100_000, items=10_000)

Items belong to subjects and users to circles. A circle has favourite subjects: it meets them more often and rates them
higher. The words of an item's text are mostly its subject's own, so that a language model, factors and neighbours all
find something to learn. Everything is made in numpy and Arrow, column by column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

if TYPE_CHECKING:
    from llmrec_peft.data.dataset import RecDataset

SUBJECTS, CIRCLES = 20, 12
WORDS_OF_A_SUBJECT, COMMON_WORDS = 150, 1000
TITLE_WORDS, TEXT_WORDS, OWN_SHARE = 3, 9, 0.6
ZIPF, ACTIVITY = 0.8, 0.8
"""Exponent of an item's popularity by its rank, and the spread of the logarithm of users' activity."""
YEARS = 5
YEAR_SECONDS = 31_557_600
FIRST_SECOND = 1_500_000_000
PIECE = 1 << 20
"""Pairs that are drawn together, so that memory is that of the result."""
FULLEST = 0.25
"""Largest share of all pairs that can be drawn: each pair is met once."""
_ONSETS, _VOWELS = "b c d f g h l m n p r s t v br cl dr fl gr pl st tr".split(), "a e i o u ai ea ou".split()


def made_up(interactions: int, users: int, items: int, seed: int = 0) -> RecDataset:
    """Make up ratings of 1 to 5 stars, each pair of user and item at most once, in no order.

    Args:
        interactions: Number of ratings.
        users: Users of the table; a few may have no rating.
        items: Items of the table; a few may have no rating.
        seed: Seed of all draws.

    Raises:
        ValueError: If a user would have to meet more than a quarter of all items.
    """
    from datasets import Dataset

    from llmrec_peft.data.dataset import RecDataset

    if interactions > FULLEST * users * items:
        raise ValueError(f"{interactions} ratings of {users} users and {items} items are too dense: give more of them")
    rng = np.random.default_rng([seed, interactions, users, items])
    world = _World.drawn(rng, users, items)
    user, item = _pairs(rng, world, interactions)
    user_id, item_id = _ids("u", users), _ids("i", items)
    start = rng.integers(0, YEARS * YEAR_SECONDS * 4 // 5, users)
    columns = {
        "user_id": user_id.take(pa.array(user)),
        "item_id": item_id.take(pa.array(item)),
        "rating": pa.array(world.rated(rng, user, item)),
        "timestamp": pa.array(FIRST_SECOND + start[user] + rng.integers(0, YEARS * YEAR_SECONDS // 5, interactions)),
    }
    described = {
        "item_id": item_id,
        "title": _texts(rng, world.subject, TITLE_WORDS),
        "description": _texts(rng, world.subject, TEXT_WORDS),
        "year": pa.array(rng.integers(1950, 2026, items)),
    }
    persons = {"user_id": user_id, "age": pa.array(rng.integers(15, 80, users))}
    name = f"made-up-{seed}-{interactions}-{users}-{items}"  # without a fingerprint Dataset would pickle every table
    tables = (Dataset(pa.table(table), fingerprint=name) for table in (columns, described, persons))
    return RecDataset(f"made up, {interactions:,} ratings", *tables, rating_range=(1.0, 5.0))


@dataclass(frozen=True)
class _World:
    """What decides who meets what and how it is rated.

    Attributes:
        subject: Subject of each item, [items].
        circle: Circle of each user, [users].
        taste: How a circle likes a subject, in stars, [CIRCLES, SUBJECTS].
        quality: How good an item is, in stars, [items].
        mood: How high a user rates, in stars, [users].
        popularity: Weight of each item in draws, [items].
        activity: Weight of each user in draws, [users].
    """

    subject: NDArray[np.int64]
    circle: NDArray[np.int64]
    taste: NDArray[np.float64]
    quality: NDArray[np.float64]
    mood: NDArray[np.float64]
    popularity: NDArray[np.float64]
    activity: NDArray[np.float64]

    @classmethod
    def drawn(cls, rng: np.random.Generator, users: int, items: int) -> _World:
        """Draw a world."""
        return cls(
            rng.permutation(np.arange(items) % SUBJECTS),
            rng.integers(0, CIRCLES, users),
            rng.normal(0.0, 0.7, (CIRCLES, SUBJECTS)),
            rng.normal(0.0, 0.35, items),
            rng.normal(0.0, 0.35, users),
            rng.permutation(1.0 / np.arange(1, items + 1) ** ZIPF),
            rng.lognormal(0.0, ACTIVITY, users),
        )

    def rated(self, rng: np.random.Generator, user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.float32]:
        """Stars of pairs, whole numbers from 1 to 5, float32 [n]."""
        liking = self.taste.astype(np.float32).ravel()[self.circle[user] * SUBJECTS + self.subject[item]]
        liking += (3.4 + self.quality).astype(np.float32)[item]
        liking += self.mood.astype(np.float32)[user]
        liking += 0.7 * rng.standard_normal(len(user), np.float32)
        return np.clip(np.rint(liking), 1, 5, dtype=np.float32)


def _pairs(rng: np.random.Generator, world: _World, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw distinct pairs of user and item, in no order, two int64 [count]."""
    draw = _Draw.of(world)
    items, found = len(world.subject), np.empty(0, np.int64)
    while len(found) < count:
        wanted = (count - len(found)) * 5 // 4 + 100
        pieces = [draw.pairs(rng, min(PIECE, wanted - at)) for at in range(0, wanted, PIECE)]
        found = np.unique(np.concatenate([found, *pieces]))
    rng.shuffle(found)
    return found[:count] // items, found[:count] % items


@dataclass(frozen=True)
class _Draw:
    """Summed chances, by which pairs are drawn.

    Attributes:
        circle: Circle of each user.
        order: Items, those of one subject together.
        crowd: Summed activity of users.
        chances: Summed chances of subjects for each circle, one rising line through all circles.
        shelf: Summed popularity of items in that order.
        bounds: Where each subject begins on the shelf.
    """

    circle: NDArray[np.int64]
    order: NDArray[np.int64]
    crowd: NDArray[np.float64]
    chances: NDArray[np.float64]
    shelf: NDArray[np.float64]
    bounds: NDArray[np.float64]

    @classmethod
    def of(cls, world: _World) -> _Draw:
        """Sum the chances of a world."""
        order = np.argsort(world.subject, kind="stable")
        shelf = np.concatenate([[0.0], np.cumsum(world.popularity[order])])
        bounds = shelf[np.searchsorted(world.subject[order], np.arange(SUBJECTS + 1))]
        met = np.exp(1.5 * world.taste) * np.diff(bounds)
        chances = np.cumsum(met / met.sum(1, keepdims=True), axis=1) + np.arange(CIRCLES)[:, None]
        return cls(world.circle, order, np.cumsum(world.activity), chances.ravel(), shelf, bounds)

    def pairs(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Draw pairs, each as user · items + item, int64 [count]."""
        user = np.searchsorted(self.crowd[:-1], np.sort(rng.random(count)) * self.crowd[-1], side="right")
        circle = self.circle[user]
        subject = np.searchsorted(self.chances, circle + rng.random(count), side="right") - circle * SUBJECTS
        subject = np.clip(subject, 0, SUBJECTS - 1)
        place = self.bounds[subject] + rng.random(count) * (self.bounds[subject + 1] - self.bounds[subject])
        return user * len(self.order) + self.order[np.searchsorted(self.shelf[1:-1], place, side="right")]


def _ids(mark: str, count: int) -> pa.Array:
    numbers = pa.array(np.arange(1, count + 1)).cast(pa.string())
    return compute.binary_join_element_wise(pa.scalar(mark), numbers, pa.scalar(""))


def _texts(rng: np.random.Generator, subject: NDArray[np.int64], words: int) -> pa.Array:
    """Make a text of so many words for each item, most of them of its subject."""
    shape = len(subject), words
    own = COMMON_WORDS + subject[:, None] * WORDS_OF_A_SUBJECT + rng.integers(0, WORDS_OF_A_SUBJECT, shape)
    which = np.where(rng.random(shape) < OWN_SHARE, own, rng.integers(0, COMMON_WORDS, shape))
    ends = pa.array(np.arange(0, which.size + 1, words, dtype=np.int32))
    named: Any = pa.array(_words()).take(pa.array(which.ravel()))
    return compute.binary_join(pa.ListArray.from_arrays(ends, named), " ")


def _words() -> list[str]:
    """Return some thousand distinct made-up words, always the same."""
    syllables = [onset + vowel for onset in _ONSETS for vowel in _VOWELS]
    order = np.random.default_rng(0).permutation(len(syllables) ** 2)
    count = COMMON_WORDS + SUBJECTS * WORDS_OF_A_SUBJECT
    return [syllables[at // len(syllables)] + syllables[at % len(syllables)] for at in order[:count].tolist()]
