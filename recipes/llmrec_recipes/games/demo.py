"""Made-up games: a title tells what the game is about, and users buy and play what they like to play.

Titles name their subject in one of three ways, beside the name of a series and a number that say nothing. A third of
the games are rare: only their titles tell who would like them. Hours of play grow with the liking; every fifth game was
bought and never played.
"""

from __future__ import annotations

import numpy as np

from llmrec_peft.plugins import RecDataset, interactions_table, table
from llmrec_recipes.drawn_order import drawn_order
from llmrec_recipes.made_up_tastes import MADE_UP, made_up_tastes

USERS, GAMES = 240, 160
UNPLAYED = 0.2
RARE = 0.33
SUBJECTS = (
    ("Football Manager", "Soccer League", "Penalty Shootout"),
    ("Racing Drift", "Rally Champion", "Formula Speedway"),
    ("Zombie Outbreak", "Undead Siege", "Haunted Asylum"),
    ("Space Colony", "Galactic Fleet", "Starship Captain"),
    ("Medieval Castle", "Knights Crusade", "Kingdom Siege"),
    ("Farm Harvest", "Village Garden", "Cattle Ranch"),
    ("Detective Mystery", "Murder Case", "Crime Scene"),
    ("Dragon Quest", "Wizard Tower", "Sorcery Dungeon"),
)
"""Three names of each subject."""
SERIES = "Orvex Halden Kestrel Tamaro Blixt Norvik Pellworm Quade Ilmari Zentra".split()


def demo_dataset(seed: int) -> RecDataset:
    """Make up games and who plays them; users are "1", "2", ..., and a game is known by its title.

    Args:
        seed: Seed of all random draws.
    """
    rng = np.random.default_rng([seed, 41])
    tastes = made_up_tastes(rng, len(SUBJECTS), GAMES, USERS, 5, 14, RARE)
    titles = [
        f"{SERIES[at % len(SERIES)]} {at // len(SERIES) + 2}: {rng.choice(SUBJECTS[kind])}"
        for at, kind in enumerate(tastes.kind.tolist())
    ]
    hours = np.exp(1.5 * tastes.liking) * (rng.random(len(tastes.user)) >= UNPLAYED)
    return RecDataset(
        name="made-up games",
        interactions=interactions_table(
            user_id=[str(user + 1) for user in tastes.user.tolist()],
            item_id=[titles[item] for item in tastes.item.tolist()],
            rating=[1.0] * len(tastes.user),
            timestamp=drawn_order(len(tastes.user)),
            confidence=hours.round(1),
        ),
        items=table({"item_id": titles, "title": titles}),
        users=table({"user_id": [str(user + 1) for user in range(USERS)]}),
        rating_range=(0, 1),
        licence="Made up by this package with a fixed seed; nobody's games.",
        notes=(MADE_UP,),
        feedback="implicit",
    )
