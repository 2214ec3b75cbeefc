"""A run of people whose ids are found in any file that has them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

USERS = [f"person-{number:03d}-of-{'abcdefgh'[number % 8] * 3}" for number in range(24)]
ITEMS = [f"thing-{number:03d}" for number in range(30)]
PLACES = ("Ulmenweg", "Lindenstrasse", "Eichenallee")


@pytest.fixture(scope="session")
def people_run(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a shop's own frames: users have columns, items have texts, and histories are read."""
    import llmrec_peft

    draw = random.Random(0)
    rows = [(user, item, draw.choice([1, 2, 3, 4, 5])) for user in USERS for item in draw.sample(ITEMS, 12)]
    user, item, stars = zip(*rows, strict=True)
    times = [10**9 + 86_400 * draw.randrange(1000) for _ in rows]
    ratings = {"user_id": user, "item_id": item, "rating": stars, "timestamp": times}
    items = {"item_id": ITEMS, "title": [f"Secret lamp {number}" for number in range(30)]}
    users = {"user_id": USERS, "street": [PLACES[number % 3] for number in range(24)]}
    data = llmrec_peft.Dataset.from_frames(ratings, items, users)
    changes = {
        "backbone.name": str(tiny_backbone),
        "backbone.precision": "fp32",
        "training.epochs": 1,
        "training.refit": False,
        "training.choice": "validation",
        "evaluation.blend": False,
        "evaluation.bootstrap": 0,
        "signals.features": {"users": ["street"]},
        "signals.collaborative": {"factors": True},
        "signals.history": {},
    }
    run = tmp_path_factory.mktemp("people") / "run"
    llmrec_peft.train(data.recipe().changed(changes), data, run, quiet=True)
    return run
