"""World: made-up users and items; every source that a signal could read contains information on their likes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft.data.graph import Neighbours
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.links import Links

USERS, ITEMS = 40, 40
"""Users and items with interactions; one further of each has none, and row 0 is the unknown one."""
WIDTH, HIDDEN, LENGTH = 24, 20, 8
"""Width of text vectors, width of the language model's token embeddings, entries of a history."""
LIKED = 4.0
"""Labels from here on become interactions if items are ranked."""
MIDDLE = 3.0
HELD_OUT = 0.3
"""Share of interactions that is held out if items are ranked."""
DAY = 86_400
FRIENDS = 5
"""Links of a user."""
_NOISE = 0.3


@dataclass(frozen=True)
class World:
    """Data of the made-up users and items.

    A user has a taste t and a generosity g, an item a kind c and a quality q, each 1 or -1, and a label is
    3 + t c + 0.7 q + 0.7 g, cut to 1 to 5. Texts, columns, a graph, histories, and an item's number of interactions
    depend on c and q; texts, columns and
    links of users, and their histories, on t and g; ids give all of it, by repetition.

    Attributes:
        train: Training interactions, with histories.
        held_out: Pairs of the same users and items that are not in training, with histories.
        text: Vectors of items' texts, float32 [num_items, WIDTH].
        user_text: Vectors of users' texts, float32 [num_users, WIDTH].
        neighbours: Graph around the items.
        users: Columns that describe users.
        items: Columns that describe items.
        links: Links of each user to some of those who share his taste and generosity.
    """

    train: Interactions
    held_out: Interactions
    text: Tensor
    user_text: Tensor
    neighbours: Neighbours
    users: dict[str, list[Any]]
    items: dict[str, list[Any]]
    links: Links

    @property
    def num_users(self) -> int:
        """Rows of a user table."""
        return len(self.user_text)

    @property
    def num_items(self) -> int:
        """Rows of an item table."""
        return len(self.text)

    @classmethod
    def made(cls, ranked: bool = False, seed: int = 0) -> World:
        """Make the world, the same one for a seed.

        Args:
            ranked: Whether only interactions are known: only liked items have any, and some of them are held out.
                Otherwise
                all pairs outside training are rated.
            seed: Seed of the draws.
        """
        rng = np.random.default_rng(seed)
        taste, kind = _halves(USERS + 1, 1, rng), _halves(ITEMS + 1, 1, rng)
        generous, quality = _halves(USERS + 1, 2, rng), _halves(ITEMS + 1, 2, rng)
        user, item = (index.reshape(-1).astype(np.int64) + 1 for index in np.indices((USERS, ITEMS)))
        exact = MIDDLE + taste[user - 1] * kind[item - 1] + 0.7 * (quality[item - 1] + generous[user - 1])
        label = np.clip(exact, 1.0, 5.0).astype(np.float32)
        known = rng.random(len(user)) < np.where(quality[item - 1] > 0, 0.75, 0.4)
        held_out = ~known
        if ranked:
            liked = known & (label >= LIKED)
            held_out = liked & (rng.random(len(user)) < HELD_OUT)
            known, label = liked & ~held_out, np.ones_like(label)
        every = Interactions(user, item, label, (rng.integers(60, 400, len(user)) * DAY).astype(np.int64))
        every = replace(every, history=_histories(every, np.flatnonzero(known), rng))
        return cls(
            every.take(np.flatnonzero(known)),
            every.take(np.flatnonzero(held_out)),
            _texts(kind, quality, rng),
            _texts(taste, generous, rng),
            _neighbours(kind, quality),
            _columns(taste, generous, "user_id", ("gender", "group", "age", "score"), rng),
            {
                **_columns(kind, quality, "item_id", ("genres", "brand", "year", "price"), rng),
                "released": [int(time) for time in np.where(quality > 0, -1000 * DAY, 0)],
            },
            _links(taste, generous),
        )


def _halves(count: int, run: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return as many 1 as -1, in random order."""
    return np.asarray(rng.permutation(np.where(np.arange(count) // run % 2 == 0, 1.0, -1.0)))


def _texts(first: NDArray[np.float64], second: NDArray[np.float64], rng: np.random.Generator) -> Tensor:
    """Return vectors that depend on two signs, around a common centre; row 0 is that of an empty text."""
    centre, *directions = rng.normal(size=(3, WIDTH))
    told = first[:, None] * directions[0] + second[:, None] * directions[1]
    rows = centre + told + _NOISE * rng.normal(size=told.shape)
    return torch.from_numpy(np.vstack([0.5 * centre, rows])).float()


def _neighbours(kind: NDArray[np.float64], quality: NDArray[np.float64]) -> Neighbours:
    """Return two entities around each item: one of two for its kind, one of two for its quality; none for the last."""
    entity = np.zeros((len(kind) + 1, 2), np.int64)
    entity[1:, 0], entity[1:, 1] = np.where(kind > 0, 1, 2), np.where(quality > 0, 3, 4)
    entity[-1] = 0
    relation = np.where(entity > 0, np.array([1, 2])[None, :], 0)
    return Neighbours(relation, entity, ("has kind", "has quality"), ("light", "dark", "fine", "poor"))


def _links(taste: NDArray[np.float64], generous: NDArray[np.float64]) -> Links:
    """Link each user to the next ones, in a ring, of those who share both signs."""
    user, other = [], []
    for signs in {*zip(taste, generous, strict=True)}:
        ring = 1 + np.flatnonzero((taste == signs[0]) & (generous == signs[1]))
        for step in range(1, FRIENDS + 1):
            user.append(ring)
            other.append(np.roll(ring, -step))
    return Links.distinct(np.concatenate(user), np.concatenate(other))


def _columns(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    identity: str,
    names: tuple[str, str, str, str],
    rng: np.random.Generator,
) -> dict[str, list[Any]]:
    """Return words, a word, an integer and a decimal: the first and third follow one sign, the others the other."""
    words, word, number, decimal = names
    of_kind = [["light", "day"] if sign > 0 else ["dark", "night"] for sign in first]
    years = 1990 + 10 * first + rng.integers(-3, 4, len(first))
    prices = 5.0 + 3.0 * second + rng.normal(size=len(second))
    return {
        identity: [str(at) for at in range(1, len(first) + 1)],
        words: of_kind if words == "genres" else [told[0] for told in of_kind],
        word: ["fine" if sign > 0 else "poor" for sign in second],
        number: years.astype(int).tolist(),
        decimal: prices.tolist(),
    }


def _histories(everything: Interactions, known: NDArray[np.int64], rng: np.random.Generator) -> Histories:
    """Draw a history for each pair: some of the user's other known pairs, in the days before it.

    One in six also contains the pair's own item, with the middle label; one in ten is empty.
    """
    items, labels, times = [], [], []
    for user, item, now in zip(everything.user, everything.item, everything.timestamp, strict=True):
        own = known[(everything.user[known] == user) & (everything.item[known] != item)]
        drawn = rng.permutation(own)[: rng.integers(3, LENGTH + 1)]
        entries, own_labels = everything.item[drawn], everything.label[drawn]
        if rng.random() < 1 / 6:
            entries, own_labels = np.append(entries, item), np.append(own_labels, np.float32(MIDDLE))
        if rng.random() < 1 / 10:
            entries, own_labels = entries[:0], own_labels[:0]
        items.append(entries)
        labels.append(own_labels)
        times.append(now - np.sort(rng.integers(1, 60 * DAY, len(entries)))[::-1])
    lengths = np.fromiter((len(entries) for entries in items), np.int64, len(items))
    end = np.cumsum(lengths).astype(np.int64)
    flat, of_entries = np.concatenate(items).astype(np.int64), np.concatenate(labels).astype(np.float32)
    return Histories(flat, of_entries, end - lengths, end, np.concatenate(times).astype(np.int64))
