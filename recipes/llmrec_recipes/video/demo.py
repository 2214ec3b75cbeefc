"""Made-up short videos: titles tell the subject, users watch a few subjects, and new videos come out every day.

Most of what is watched late came out late, so that of many videos of the test part only the title is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmrec_peft.plugins import RecDataset, interactions_table, table
from llmrec_recipes.made_up_tastes import MADE_UP

USERS, VIDEOS, DAYS = 160, 300, 30
LEAST, MOST = 4, 12
CURRENT = 6
"""Days that a video is watched for after it came out."""
STAYS = 0.85
"""Chance that a user watches a video of a subject that he likes."""
START, DAY = 1_650_000_000, 86_400
SUBJECTS = (
    ("cat", "kitten", "paws", "whiskers"),
    ("noodle", "wok", "dumpling", "soup"),
    ("guitar", "song", "chorus", "melody"),
    ("goal", "striker", "football", "penalty"),
    ("makeup", "lipstick", "eyeshadow", "skincare"),
    ("fishing", "carp", "bait", "river"),
    ("baby", "toddler", "stroller", "lullaby"),
    ("truck", "engine", "tyre", "garage"),
)
"""Words of each subject."""
FRAMES = (
    "You will not believe this {} and {}",
    "Every day a {}, today with {}",
    "My {} story, part two: the {}",
    "What happens when {} meets {}?",
    "Teaching you {} and {} in one minute",
)


def demo_dataset(seed: int) -> RecDataset:
    """Make up videos and who watched them when; ids are numbers as the real ones.

    Args:
        seed: Seed of all random draws.
    """
    rng = np.random.default_rng([seed, 47])
    subject = rng.integers(0, len(SUBJECTS), VIDEOS)
    out = np.sort(rng.uniform(0.0, DAYS, VIDEOS))
    fame = np.exp(rng.normal(0.0, 0.5, VIDEOS))
    titles = [str(rng.choice(FRAMES)).format(*rng.permutation(SUBJECTS[one])[:2]) for one in subject.tolist()]
    columns: dict[str, list[Any]] = {name: [] for name in ("user_id", "item_id", "timestamp")}
    for user in range(USERS):
        likes = rng.permutation(len(SUBJECTS))[: rng.integers(1, 3)]
        first, seen = rng.uniform(1.0, DAYS - 4.0), np.zeros(VIDEOS, bool)
        for day in first + np.cumsum(rng.exponential(0.8, rng.integers(LEAST, MOST + 1))):
            current = (out < day) & (out > day - CURRENT) & ~seen
            liked = current & np.isin(subject, likes)
            wanted = liked if liked.any() and rng.random() < STAYS else current
            if not wanted.any():
                continue
            odds = fame * wanted
            item = int(rng.choice(VIDEOS, p=odds / odds.sum()))
            seen[item] = True
            columns["user_id"].append(str(user + 1))
            columns["item_id"].append(str(item + 1))
            columns["timestamp"].append(START + int(day * DAY))
    return RecDataset(
        name="made-up videos",
        interactions=interactions_table(rating=[1.0] * len(columns["user_id"]), **columns),
        items=table({"item_id": [str(at + 1) for at in range(VIDEOS)], "title": titles}),
        users=table({"user_id": list(dict.fromkeys(columns["user_id"]))}),
        rating_range=(0, 1),
        licence="Made up by this package with a fixed seed; nobody's videos.",
        notes=(MADE_UP,),
        feedback="implicit",
    )
