"""Made-up magazines: a description names two qualities, and readers' letters name them in other words.

A magazine is thorough or shallow, and sober or cheerful. Nearly all users like thorough ones; some like cheerful
ones and some sober ones. A letter praises or blames each quality by whether its writer likes it, and the rating
follows from both. New magazines come out all the time, a quarter of them after most letters were written. What is
bought with a magazine is as thorough as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmrec_peft.plugins import RecDataset, interactions_table, table
from llmrec_recipes.benchmarks.tallrec_movie.demo import MADE_UP
from llmrec_recipes.ecommerce.relations import graph_of
from llmrec_recipes.movies.demo import ADJECTIVES, NOUNS, THEMES

USERS, MAGAZINES, LETTERS_PER_USER = 110, 90, 14
LATE_SHARE, LATE_FROM = 0.25, 0.6
"""Share of the magazines that come out late, and the share of the whole time after which they do."""
FRESH_CHANCE = 0.2
"""Chance that a user takes a magazine that has just come out, where one is left."""
START, END = 1_380_000_000, 1_530_000_000
DEPTH = {
    1: ("thorough research", "long and careful articles", "well checked facts", "real expertise"),
    -1: ("short gossip", "thin summaries", "recycled press releases", "page after page of advertising"),
}
SPIRIT = {
    1: ("a cheerful tone", "bright humour", "playful colours", "light-hearted columns"),
    -1: ("a sober tone", "grave essays", "plain black and white pages", "stern columns"),
}
FELT_DEPTH = {
    1: ("I learn something on each page", "every piece goes to the bottom of things", "it is worth keeping"),
    -1: ("there is nothing in it", "I was through in ten minutes", "it belongs into the bin"),
}
FELT_SPIRIT = {
    1: ("it made me laugh", "so much fun to leaf through", "it lifts my mornings"),
    -1: ("it takes its subject seriously", "quiet and dignified", "no silly jokes"),
}
BLAME = ("too much of it for me", "I could do without", "which wears me out")
PRAISE = ("just what I want", "which I love", "more of that please")
KINDS = "Monthly Review Journal Quarterly Digest Weekly".split()
BOUGHT = 4
"""Magazines that are bought with each."""
PUBLISHERS = ("Harbour Press", "Old Mill Media", "Northlight Publishing", "Red Kite House", "Meridian Papers")


def demo_dataset(seed: int) -> RecDataset:
    """Make up magazines and letters; ids have the form of the real ones.

    Args:
        seed: Seed of all random draws.
    """
    import pyarrow as pa

    rng = np.random.default_rng([seed, 19])
    depth, spirit = rng.choice([-1, 1], MAGAZINES), rng.choice([-1, 1], MAGAZINES)
    out = np.where(rng.random(MAGAZINES) < LATE_SHARE, rng.uniform(LATE_FROM, 0.9, MAGAZINES), 0.0)
    items = _items(rng, depth, spirit)
    for_depth, for_spirit = rng.normal(0.8, 0.3, USERS), rng.normal(0.0, 0.9, USERS)
    own = rng.normal(0.0, 0.1, MAGAZINES)
    names = ("user_id", "item_id", "rating", "timestamp", "review")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for user in range(USERS):
        left = rng.permutation(MAGAZINES)
        for moment in np.sort(rng.random(max(5, rng.poisson(LETTERS_PER_USER)))):
            there = left[out[left] <= moment]
            fresh = there[out[there] > 0.0]
            one = fresh[0] if len(fresh) and rng.random() < FRESH_CHANCE else there[0]
            left = left[left != one]
            liking = 3.3 + for_depth[user] * depth[one] + for_spirit[user] * spirit[one] + own[one]
            felt = (
                _felt(rng, FELT_DEPTH, depth[one], for_depth[user]),
                _felt(rng, FELT_SPIRIT, spirit[one], for_spirit[user]),
            )
            columns["user_id"].append(f"A{user + 1:012d}")
            columns["item_id"].append(items["item_id"][one])
            columns["rating"].append(float(np.clip(np.rint(liking + rng.normal(0.0, 0.5)), 1, 5)))
            columns["timestamp"].append(int(START + moment * (END - START)))
            columns["review"].append(". ".join(text[0].upper() + text[1:] for text in felt) + ".")
    graph, _ = graph_of(
        pa.array(items["item_id"]),
        pa.array(items["brand"]),
        pa.array(items["categories"]),
        pa.array(_bought(seed, items["item_id"], depth)),
    )
    return RecDataset(
        name="made-up magazines",
        interactions=interactions_table(**columns),
        items=table(items),
        users=table({"user_id": list(dict.fromkeys(columns["user_id"]))}),
        rating_range=(1, 5),
        graph=graph,
        licence="Made up by this package with a fixed seed; nobody's letters.",
        notes=(MADE_UP,),
        feedback="rating",
    )


def _items(rng: np.random.Generator, depth: Any, spirit: Any) -> dict[str, list[Any]]:
    """Return the columns of the items table: a description names a subject and both qualities, in random order."""
    titles: dict[str, None] = {}
    while len(titles) < MAGAZINES:
        titles.setdefault(f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)} {rng.choice(KINDS)}")
    subject = [THEMES[one] for one in rng.integers(0, len(THEMES), MAGAZINES)]
    descriptions = []
    for one in range(MAGAZINES):
        parts = [rng.choice(DEPTH[depth[one]]), rng.choice(SPIRIT[spirit[one]])]
        rng.shuffle(parts)
        descriptions.append(f"A magazine about {subject[one]}, with {parts[0]} and {parts[1]}.")
    return {
        "item_id": [f"B{one + 1:09d}" for one in range(MAGAZINES)],
        "title": list(titles),
        "description": descriptions,
        "features": [[f"{(4, 6, 12)[one % 3]} issues a year"] for one in range(MAGAZINES)],
        "categories": [["Magazine Subscriptions", about.title()] for about in subject],
        "brand": [str(name) for name in rng.choice(PUBLISHERS, MAGAZINES)],
    }


def _bought(seed: int, ids: list[str], depth: Any) -> list[list[str]]:
    """Return the magazines that are bought with each."""
    rng = np.random.default_rng([seed, 20])
    return [[ids[other] for other in rng.choice(np.flatnonzero(depth == own), BOUGHT)] for own in depth]


def _felt(rng: np.random.Generator, words: Mapping[int, tuple[str, ...]], quality: int, liking: float) -> str:
    """Return what a letter says about a quality, with praise or blame by whether its writer likes it."""
    return f"{rng.choice(words[quality])}, {rng.choice(PRAISE if liking * quality > 0 else BLAME)}"
