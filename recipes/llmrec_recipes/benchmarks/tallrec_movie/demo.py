"""Made-up records in which the title of a film or book decides who likes it.

A film has a mood (warm or cold) and a pace (slow or fast), and its title holds one word for each, such as "The
Tender, Restless Harbour". A user likes warm or cold films and, less strongly, fast or slow ones; the history shows
which. A quarter of the films occurs only in validation and test, and so do some of the words: for those, only the
meaning of a word predicts who likes the film.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.plugins import RecDataset, interactions_table, table
from llmrec_recipes.benchmarks.films import films_table
from llmrec_recipes.benchmarks.tallrec_movie.books import books_table
from llmrec_recipes.movies.demo import DIRECTORS, MOOD, NAMES, NOUNS, PACE
from llmrec_recipes.movies.titles import title_and_year

if TYPE_CHECKING:
    from datasets import Dataset

MADE_UP = "this data is made up: it shows what the suite does, not how well it does on yours"
RECORDS = {"train": 240, "valid": 80, "test": 120}
FILMS, HISTORY = 80, 10
NEW_SHARE = 0.25
NEW_MOOD = {1: ("loving", "kind"), -1: ("grim", "cruel")}
NEW_PACE = {1: ("swift", "hurried"), -1: ("leisurely", "drowsy")}
MOOD_TASTE, PACE_TASTE, NOISE = 1.2, 0.6, 0.5


def demo_dataset(seed: int) -> RecDataset:
    """Make up films and records; ids have the form of the real ones.

    Args:
        seed: Seed of all random draws.
    """
    rng = np.random.default_rng([seed, 11])
    films = TellingFilms.made_up(rng, FILMS, NEW_SHARE)
    records = _records(rng, films)
    return _dataset(records, films_table(films.titles), person=records["user_id"])


def demo_books(seed: int) -> RecDataset:
    """Make up books and records; a book's title tells its mood and pace as a film's does, its author nothing.

    Args:
        seed: Seed of all random draws.
    """
    rng = np.random.default_rng([seed, 12])
    films = TellingFilms.made_up(rng, FILMS, NEW_SHARE)
    books = [
        f'"{title_and_year(title)[0]}" written by {DIRECTORS[at % len(DIRECTORS)]}'
        for at, title in enumerate(films.titles)
    ]
    return _dataset(_records(rng, replace(films, titles=books)), books_table(books))


def _records(rng: np.random.Generator, films: TellingFilms) -> dict[str, list[Any]]:
    """Make up the columns of the interactions."""
    old = np.flatnonzero(~films.new)
    columns: dict[str, list[Any]] = {name: [] for name in ("user_id", "item_id", "rating", "timestamp", "part")}
    columns |= {"history": [], "history_rating": []}
    for part, count in RECORDS.items():
        asked = old if part == "train" else np.arange(FILMS)
        for place in range(count):
            target = int(rng.choice(asked))
            history = rng.choice(old[old != target], HISTORY, replace=False)
            likes = films.liked(np.append(history, target), tastes(rng, 1)[0], rng)
            shown = [*history[likes[:-1]], *history[~likes[:-1]]]
            columns["user_id"].append(f"{part}-{place}")
            columns["item_id"].append(films.titles[target])
            columns["rating"].append(float(likes[-1]))
            columns["timestamp"].append(len(columns["timestamp"]))
            columns["part"].append(part)
            columns["history"].append([films.titles[film] for film in shown])
            columns["history_rating"].append(sorted(likes[:-1].astype(float), reverse=True))
    return columns


def _dataset(columns: dict[str, list[Any]], items: Dataset, person: list[str] | None = None) -> RecDataset:
    """Return a dataset of records."""
    return RecDataset(
        name="made-up records",
        interactions=interactions_table(**columns, person=person),
        items=items,
        users=table({"user_id": columns["user_id"]}),
        rating_range=(0, 1),
        licence="Made up by this package with a fixed seed; nobody's likes.",
        notes=(MADE_UP,),
        feedback="click",
    )


@dataclass(frozen=True)
class TellingFilms:
    """Films whose titles hold a word for each of their hidden qualities.

    Attributes:
        titles: Titles as MovieLens writes them, each once.
        mood: 1 for warm, -1 for cold, [n].
        pace: 1 for fast, -1 for slow, [n].
        new: Whether a film occurs in no training record, [n]; half of these have words that no other title has.
    """

    titles: list[str]
    mood: NDArray[np.int64]
    pace: NDArray[np.int64]
    new: NDArray[np.bool_]

    @classmethod
    def made_up(cls, rng: np.random.Generator, count: int, new_share: float) -> TellingFilms:
        """Make up films, of which a random share `new_share` is new."""
        mood, pace = rng.choice([-1, 1], count), rng.choice([-1, 1], count)
        new = np.zeros(count, bool)
        new[rng.permutation(count)[: int(new_share * count)]] = True
        titles: dict[str, None] = {}
        for film in range(count):
            own = new[film] and rng.random() < 0.5  # noqa: PLR2004 - half of the new films
            moods, paces = (NEW_MOOD, NEW_PACE) if own else (MOOD, PACE)
            while len(titles) == film:
                words = rng.choice(moods[mood[film]]), rng.choice(paces[pace[film]])
                titles.setdefault(_title(rng, *words))
        return cls(list(titles), mood, pace, new)

    def liked(
        self, films: NDArray[np.int64], taste: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.bool_]:
        """Whether a user with a taste (for warm, for fast) likes each film; noise flips some answers, [films]."""
        liking = taste[0] * self.mood[films] + taste[1] * self.pace[films] + rng.normal(0.0, NOISE, len(films))
        return np.asarray(liking > 0.0)


def tastes(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Draw users' tastes for warm and for fast films, positive or negative; the first is stronger, [count, 2]."""
    return np.asarray(rng.choice([-1.0, 1.0], (count, 2)) * np.array([MOOD_TASTE, PACE_TASTE]))


def _title(rng: np.random.Generator, mood: str, pace: str) -> str:
    noun, other = rng.choice(NOUNS, 2, replace=False)
    name, year = rng.choice(NAMES), rng.integers(1950, 2001)
    shapes = [
        f"{mood.title()} {noun}, The {pace.title()} {other}",
        f"{pace.title()} {noun} of a {mood.title()} {other}",
        f"{name}, {mood.title()} and {pace.title()}",
        f"{mood.title()}, {pace.title()} {noun}, The",
    ]
    return f"{rng.choice(shapes)} ({year})"
