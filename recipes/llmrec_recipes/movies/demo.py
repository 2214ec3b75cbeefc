"""Made-up films: the meaning of a description decides who likes a film.

Each film has two hidden qualities, its pace (slow or fast) and its mood (warm or cold). The description names
each directly ("slow") or, in a few cases, by denying the opposite ("hardly fast"). Most words of a text (title,
trade, place, errand) do not influence liking, so that the embedding of a general sentence encoder mostly encodes
other things. Some users like fast films and some slow ones, most like a warm mood, a director is good or bad, a
theme matters to some users. A quarter of the films has no rating in the training part: only description and graph
predict how those are rated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmrec_peft.plugins import KnowledgeGraph, RecDataset, interactions_table, table

USERS, FILMS, RATINGS_PER_USER = 150, 260, 56
COLD_SHARE, LATE_SHARE, DENIED_SHARE = 0.25, 0.1, 0.08
PACE = {1: ("fast", "brisk", "restless"), -1: ("slow", "patient", "unhurried")}
MOOD = {1: ("warm", "tender", "gentle"), -1: ("cold", "bleak", "harsh")}
DENIALS = ("never", "hardly", "anything but")
ADJECTIVES = (
    "Last Silent Crooked Golden Hidden Paper Broken Northern Glass Second Blue Empty Long Salt Borrowed Wild"
).split()
NOUNS = (
    "Harbour Orchard Letter Bridge Summer Garden Station River Promise Lantern Island Winter Road Mirror Evening"
    " Window Map Season"
).split()
NAMES = "Clara Anton Maria Edith Tomas Ruth Oskar Irene Paul Nora".split()
TRADES = (
    "a baker, a retired judge, a young pilot, a piano tuner, a night nurse, a fisherman, a chess teacher, a border"
    " guard, a widowed farmer, a taxi driver, two sisters, a botanist, a failed boxer, a clockmaker"
).split(", ")
ERRANDS = (
    "looking for a lost brother, rebuilding an old house, hiding a stolen painting, raising a stranger's child,"
    " racing to a wedding, guarding a family secret, learning to dance, writing one last letter, paying off an old"
    " debt, solving a murder, saving a small theatre, chasing a rumour, in Lisbon, in a mountain village, in wartime"
    " Warsaw, in a desert town, in Glasgow, near a lighthouse, in Buenos Aires, in a mining colony, on the Baltic"
    " coast, in Kyoto, in a sleeping suburb, in a river port"
).split(", ")
GENRES = ("Drama", "Comedy", "Thriller", "Romance", "Crime", "Adventure", "Mystery", "Science Fiction")
THEMES = ("family", "revenge", "exile", "first love", "ambition", "forgiveness", "war", "friendship")
DIRECTORS = (
    "Ada Lindqvist, Bruno Marchetti, Celia Okafor, Daniel Reyes, Elif Demir, Felix Novak, Grace Holloway, Hiro"
    " Tanabe, Ines Duarte, Jonas Falk, Katya Belova, Liam Brannigan, Mina Rao, Noel Fontaine"
).split(", ")
STUDIOS = ("Northlight", "Red Kite", "Harbour Pictures", "Meridian", "Old Mill", "Pale Moon")


def demo_dataset(seed: int) -> RecDataset:
    """Make up films, users and ratings; ids are "1", "2", ...

    Args:
        seed: Seed of all random draws.
    """
    rng = np.random.default_rng([seed, 7])
    films = _Films(rng)
    return RecDataset(
        name="made-up films",
        interactions=_ratings(films, rng),
        items=table(films.columns),
        users=table({"user_id": [str(user) for user in range(1, USERS + 1)]}),
        rating_range=(1, 5),
        graph=films.graph(),
        licence="Made up by this package with a fixed seed; nobody's ratings.",
        notes=("this data is made up: it shows what the suite does, not how well it does on yours",),
    )


class _Films:
    """Hidden qualities of all films and the columns of the items table."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.pace = rng.choice([-1, 1], FILMS)
        self.mood = rng.choice([-1, 1], FILMS)
        self.director = rng.integers(0, len(DIRECTORS), FILMS)
        self.studio = rng.integers(0, len(STUDIOS), FILMS)
        self.theme = rng.integers(0, len(THEMES), FILMS)
        self.genre = rng.integers(0, len(GENRES), FILMS)
        titles: dict[str, None] = {}
        while len(titles) < FILMS:
            titles.setdefault(_title(rng))
        self.columns: dict[str, list[Any]] = {
            "item_id": [str(film) for film in range(1, FILMS + 1)],
            "title": list(titles),
            "year": [int(year) for year in rng.integers(1950, 2021, FILMS)],
            "genres": [[GENRES[genre]] for genre in self.genre],
            "description": [_description(rng, self.pace[film], self.mood[film]) for film in range(FILMS)],
        }

    def graph(self) -> KnowledgeGraph:
        """Return triples with director, studio and theme of each film; a film's entity is its id with a prefix."""
        facts = (
            ("directed by", self.director, DIRECTORS),
            ("produced by", self.studio, STUDIOS),
            ("has theme", self.theme, THEMES),
        )
        rows = [
            (f"film {film + 1}", relation, names[which[film]])
            for film in range(FILMS)
            for relation, which, names in facts
        ]
        head, relation, tail = zip(*rows, strict=True)
        items = self.columns["item_id"]
        links = table({"item_id": items, "entity_id": [f"film {item}" for item in items]})
        return KnowledgeGraph(table({"head": head, "relation": relation, "tail": tail}), links)


def _ratings(films: _Films, rng: np.random.Generator) -> Any:
    """Let each user rate some films; ratings of cold films and each user's latest ratings are the test part."""
    bias, fast = rng.normal(0.0, 0.3, USERS), rng.normal(0.2, 0.6, USERS)
    warm, by_genre = rng.normal(0.5, 0.4, USERS), rng.normal(0.0, 0.15, (USERS, len(GENRES)))
    skill, by_theme = rng.normal(0.0, 0.35, len(DIRECTORS)), rng.normal(0.0, 0.2, (USERS, len(THEMES)))
    own = rng.normal(0.0, 0.1, FILMS)
    popularity = rng.gamma(2.0, 1.0, FILMS) + 0.5
    popularity /= popularity.sum()
    cold = np.zeros(FILMS, bool)
    cold[rng.permutation(FILMS)[: int(COLD_SHARE * FILMS)]] = True
    columns: dict[str, list[Any]] = {"user_id": [], "item_id": [], "rating": [], "timestamp": [], "part": []}
    for user in range(USERS):
        size = int(np.clip(rng.poisson(RATINGS_PER_USER), 20, FILMS))
        film = rng.choice(FILMS, size, replace=False, p=popularity)
        liking = 3.4 + bias[user] + fast[user] * films.pace[film] + warm[user] * films.mood[film]
        liking += by_genre[user, films.genre[film]] + by_theme[user, films.theme[film]]
        liking += skill[films.director[film]] + own[film] + rng.normal(0.0, 0.5, size)
        late = np.arange(size) >= size - int(LATE_SHARE * size)
        columns["user_id"] += [str(user + 1)] * size
        columns["item_id"] += [str(one + 1) for one in film]
        columns["rating"] += np.clip(np.rint(liking), 1, 5).tolist()
        columns["timestamp"] += np.sort(rng.integers(1_500_000_000, 1_600_000_000, size)).tolist()
        columns["part"] += ["test" if in_test else "train" for in_test in cold[film] | late]
    return interactions_table(**columns)


def _title(rng: np.random.Generator) -> str:
    adjective, noun, other, name = (rng.choice(words) for words in (ADJECTIVES, NOUNS, NOUNS, NAMES))
    shapes = [
        f"The {adjective} {noun}",
        f"{adjective} {noun}",
        f"The {noun} of {name}",
        f"{noun} for {name}",
        f"{name} and the {noun}",
        f"The {noun} and the {other}",
    ]
    return str(rng.choice(shapes))


def _description(rng: np.random.Generator, pace: int, mood: int) -> str:
    parts = [_quality(rng, PACE, pace), _quality(rng, MOOD, mood)]
    if rng.random() < 0.5:  # noqa: PLR2004 - as often the one order as the other
        parts.reverse()
    tone, story = " and ".join(parts), f"{rng.choice(TRADES)} {rng.choice(ERRANDS)}"
    if rng.random() < 0.5:  # noqa: PLR2004
        return f"{tone[0].upper()}{tone[1:]}, it follows {story}."
    return f"The story of {story}, {tone}."


def _quality(rng: np.random.Generator, words: Mapping[int, tuple[str, ...]], sign: int) -> str:
    """Return "slow" or, less often, "never fast": the same meaning, written with the opposite word."""
    if rng.random() >= DENIED_SHARE:
        return str(rng.choice(words[sign]))
    return f"{rng.choice(DENIALS)} {rng.choice(words[-sign])}"
