"""Made-up news: topics decide who clicks, told by words of the title, and articles are clicked while they are fresh.

Each article has a hidden topic, of which title and abstract hold a word each among words that mean nothing, and a
subject (an entity). Categories are coarse: two topics share one. Each user likes some topics and dislikes others. In
an impression, some articles are the newest and the others are older ones that the user has not clicked. Some users are
there once, without a history. The newest days are validation and test; many of the articles shown there do not occur in
training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.plugins import KnowledgeGraph, RecDataset, interactions_table, table

USERS, ARTICLES, IMPRESSIONS, SHOWN, FRESH, DAYS = 60, 150, 300, 8, 3, 10
NEW_USERS = 0.15
"""Share of the impressions that are the first and only one of a user."""
FRESH_HOURS = 12.0
VALID_FROM, TEST_FROM = 7.0, 8.2
"""Days after which validation and test begin."""
START = 1_573_000_000
HOUR, DAY = 3_600, 86_400
TOPICS = {
    "football": ("sports", "goalkeeper penalty striker midfield"),
    "tennis": ("sports", "serve racket volley umpire"),
    "elections": ("news", "ballot candidate campaign voters"),
    "courts": ("news", "verdict jury lawsuit prosecutor"),
    "stocks": ("finance", "shares investors dividend rally"),
    "housing": ("finance", "mortgage rents landlord tenants"),
}
FILLER = (
    "after long talks, on Monday, in a surprise, despite the rain, for the third time, as crowds watch, behind closed"
    " doors, near the harbour, with no warning, before the holidays, in an old town, against all odds"
).split(", ")
NAMES = "Ada Bruno Celia Daniel Elif Felix Grace Hiro Ines Jonas Katya Liam".split()
VERBS = "faces sees welcomes ends opens questions remembers leaves".split()


def demo_dataset(seed: int) -> RecDataset:
    """Make up users, articles and impressions; ids are "U1", "N1", ...

    Args:
        seed: Seed of all random draws.
    """
    rng = np.random.default_rng([seed, 31])
    topic = rng.integers(0, len(TOPICS), ARTICLES)
    out = np.sort(rng.uniform(0.0, DAYS, ARTICLES)) * 24.0
    subject = rng.integers(0, len(NAMES), ARTICLES)
    columns = _shown(topic, out, subject, rng)
    ids = [f"N{at + 1}" for at in range(ARTICLES)]
    first = _first_seen(columns)
    names, categories = list(TOPICS), [category for category, _ in TOPICS.values()]
    items: dict[str, list[Any]] = {
        "item_id": ids,
        "category": [categories[one] for one in topic],
        "subcategory": [categories[one] + ("main" if rng.random() < 0.5 else "extra") for one in topic],  # noqa: PLR2004
        "title": [_title(names[one], NAMES[who], rng) for one, who in zip(topic, subject, strict=True)],
        "abstract": [_sentence(names[one], rng) for one in topic],
        "first_seen": [first.get(item) for item in ids],
    }
    nodes = [f"article {item}" for item in ids]
    triples = {"head": nodes, "relation": ["named in the title"] * ARTICLES, "tail": [NAMES[who] for who in subject]}
    return RecDataset(
        name="made-up news",
        interactions=interactions_table(**columns),
        items=table(items),
        users=table({"user_id": list(dict.fromkeys(columns["user_id"]))}),
        rating_range=(0, 1),
        graph=KnowledgeGraph(table(triples), table({"item_id": ids, "entity_id": nodes})),
        licence="Made up by this package with a fixed seed; nobody's clicks.",
        notes=("this data is made up: it shows what the suite does, not how well it does on yours",),
        feedback="click",
        repeats=True,
    )


def _shown(
    topic: NDArray[np.int64], out: NDArray[np.float64], subject: NDArray[np.int64], rng: np.random.Generator
) -> dict[str, list[Any]]:
    """Return the interactions' columns: impressions in order of time, each with at least one click."""
    names = ("user_id", "item_id", "rating", "timestamp", "part", "history", "history_rating", "kind", "impression")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    taste, fame = rng.normal(0.0, 2.0, (USERS, len(TOPICS))), rng.normal(0.0, 0.5, len(NAMES))
    clicked = [_earlier(taste[user], topic, rng) for user in range(USERS)]
    for at, hour in enumerate(np.sort(rng.uniform(12.0, DAYS * 24.0, IMPRESSIONS)).tolist()):
        user = int(rng.integers(USERS))
        if rng.random() < NEW_USERS:
            user, taste = len(clicked), np.vstack([taste, rng.normal(0.0, 2.0, len(TOPICS))])
            clicked.append([])
        there = np.array([one for one in np.flatnonzero(out < hour) if f"N{one + 1}" not in clicked[user]], np.int64)
        newest = there[-FRESH:]
        older = rng.permutation(there[:-FRESH])[: SHOWN - FRESH]
        articles = rng.permutation(np.concatenate([newest, older]))
        fresh = np.exp(-(hour - out[articles]) / FRESH_HOURS)
        odds = taste[user, topic[articles]] + 2.0 * fresh + fame[subject[articles]] - 1.8
        opened = rng.random(len(articles)) < 1.0 / (1.0 + np.exp(-odds))
        opened[int(np.argmax(odds))] |= not opened.any()
        days, size = hour / 24.0, len(articles)
        columns["user_id"] += [f"U{user + 1}"] * size
        columns["item_id"] += [f"N{one + 1}" for one in articles.tolist()]
        columns["rating"] += opened.astype(float).tolist()
        columns["timestamp"] += [START + int(hour * HOUR)] * size
        columns["part"] += ["train" if days < VALID_FROM else "valid" if days < TEST_FROM else "test"] * size
        columns["history"] += [list(clicked[user])] * size
        columns["history_rating"] += [[1.0] * len(clicked[user])] * size
        columns["kind"] += ["with_history" if clicked[user] else "without_history"] * size
        columns["impression"] += [str(at + 1)] * size
        clicked[user] = [*clicked[user], *(f"N{one + 1}" for one in articles[opened].tolist())]
    return columns


def _earlier(taste: NDArray[np.float64], topic: NDArray[np.int64], rng: np.random.Generator) -> list[str]:
    """Return articles of the first day that a user had clicked before the first impression."""
    early = rng.permutation(ARTICLES // DAYS)[:12]
    liked = early[rng.random(len(early)) < 1.0 / (1.0 + np.exp(-taste[topic[early]]))]
    return [f"N{one + 1}" for one in liked.tolist()]


def _first_seen(columns: dict[str, list[Any]]) -> dict[str, int]:
    """Return when each article was shown first, or stood in a history."""
    first: dict[str, int] = {}
    for item, told, time in zip(columns["item_id"], columns["history"], columns["timestamp"], strict=True):
        for one in (item, *told):
            first.setdefault(one, time)
    return first


def _title(topic: str, name: str, rng: np.random.Generator) -> str:
    return f"{name} {rng.choice(VERBS)} the {_word(topic, rng)} {rng.choice(FILLER)}"


def _sentence(topic: str, rng: np.random.Generator) -> str:
    return f"{str(rng.choice(FILLER)).capitalize()}, the {_word(topic, rng)} came back {rng.choice(FILLER)}."


def _word(topic: str, rng: np.random.Generator) -> str:
    return str(rng.choice(TOPICS[topic][1].split()))
