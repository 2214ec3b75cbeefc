"""Made-up likes over time: users join and films come out at different times, and titles explain who likes what.

The films are made as in the TALLRec demo: a word in the title for each hidden quality. Validation and test hold
users and films that do not occur in training.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmrec_peft.plugins import RecDataset, interactions_table, table
from llmrec_recipes.benchmarks.films import films_table
from llmrec_recipes.benchmarks.tallrec_movie.demo import MADE_UP, TellingFilms, tastes

USERS, FILMS, RECORDS_PER_USER = 80, 120, 24
LATE_USERS, LATE_FILMS = 0.08, 0.12
FRESH_CHANCE = 0.2
"""Chance that a user takes a film that has just come out, where one is left."""
START, END = 991_000_000, 1_044_000_000
VALID_FROM, TEST_FROM = 0.7, 0.82
"""Shares of the whole time after which validation and test begin."""


def demo_dataset(seed: int) -> RecDataset:
    """Make up users, films and records; ids are "1", "2", ...

    Args:
        seed: Seed of all random draws.
    """
    rng = np.random.default_rng([seed, 13])
    films = TellingFilms.made_up(rng, FILMS, LATE_FILMS)
    taste = tastes(rng, USERS)
    joined = np.where(rng.random(USERS) < LATE_USERS, rng.uniform(VALID_FROM, 0.9, USERS), rng.uniform(0.0, 0.5, USERS))
    out = np.where(films.new, rng.uniform(VALID_FROM, 0.9, FILMS), 0.0)
    records: list[tuple[float, int, int, bool]] = []
    for user in range(USERS):
        when = np.sort(rng.uniform(joined[user], 1.0, max(4, rng.poisson(RECORDS_PER_USER))))
        left = rng.permutation(FILMS)
        for moment in when:
            there = left[out[left] <= moment]
            fresh = there[out[there] > 0.0]
            film = fresh[0] if len(fresh) and rng.random() < FRESH_CHANCE else there[0]
            left = left[left != film]
            liked = films.liked(np.array([film]), taste[user], rng)
            records.append((float(moment), user, int(film), bool(liked[0])))
    records.sort()
    return RecDataset(
        name="made-up likes",
        interactions=interactions_table(**_columns(records)),
        items=films_table(films.titles, [str(film + 1) for film in range(FILMS)]),
        users=table({"user_id": [str(user + 1) for user in range(USERS)]}),
        rating_range=(0, 1),
        licence="Made up by this package with a fixed seed; nobody's likes.",
        notes=(MADE_UP,),
        feedback="click",
    )


def _columns(records: list[tuple[float, int, int, bool]]) -> dict[str, list[Any]]:
    """Return the interactions' columns, with histories, of records (moment, user, film, liked) in order of time."""
    names = ("user_id", "item_id", "rating", "timestamp", "part", "kind", "history", "history_rating")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    liked_by: dict[int, list[str]] = {}
    trained_users: set[int] = set()
    trained_films: set[int] = set()
    for moment, user, film, liked in records:
        part = "train" if moment < VALID_FROM else "valid" if moment < TEST_FROM else "test"
        if part == "train":
            trained_users.add(user)
            trained_films.add(film)
        history = liked_by.setdefault(user, [])
        columns["user_id"].append(str(user + 1))
        columns["item_id"].append(str(film + 1))
        columns["rating"].append(float(liked))
        columns["timestamp"].append(int(START + moment * (END - START)))
        columns["part"].append(part)
        columns["kind"].append("warm" if user in trained_users and film in trained_films else "cold")
        columns["history"].append(list(history))
        columns["history_rating"].append([1.0] * len(history))
        if liked:
            history.append(str(film + 1))
    return columns
