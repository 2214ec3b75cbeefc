"""Made-up purchases in the form of MiniOneRec's splits: histories of at most ten, rows in the order of time.

What is bought follows the circle of families of the demo data of `amazon-scientific`, so that the structure is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmrec_peft.plugins import RecDataset, interactions_table, table
from llmrec_recipes.benchmarks.amazon_scientific.demo import BRANDS
from llmrec_recipes.benchmarks.amazon_scientific.demo import demo_dataset as sequences

HISTORY = 10
"""Entries of a history that are kept."""
LATER = {"valid": 1_000, "test": 2_000}
"""Time of the first row of a part; training goes by the places in sequences."""


def demo_dataset(seed: int) -> RecDataset:
    """Make up sequences; each user's last purchase is a test row, the one before it a validation row.

    Args:
        seed: Seed of all random draws.
    """
    made = sequences(seed)
    whole, items = (arrow.data.table.to_pydict() for arrow in (made.interactions, made.items))
    bought: dict[str, dict[str, None]] = {}
    for user, item in zip(whole["user_id"], whole["item_id"], strict=True):
        bought.setdefault(user, {})[item] = None  # nothing is bought twice, so that no history has the answer
    order = np.random.default_rng([seed, 23]).permutation(sorted(bought)).tolist()
    columns: dict[str, list[Any]] = {
        name: [] for name in ("user_id", "item_id", "timestamp", "part", "history", "history_rating")
    }
    for part, begin, end in (("train", 0, -2), ("valid", -2, -1), ("test", -1, None)):
        for number, user in enumerate(order):
            own = list(bought[user])
            for place in range(len(own))[begin:end]:
                history = own[max(0, place - HISTORY) : place]
                time = place if part == "train" else LATER[part] + number
                entry = (user, own[place], time, part, history, [1.0] * len(history))
                for name, value in zip(columns, entry, strict=True):
                    columns[name].append(value)
    brands = [next((brand for brand in BRANDS if brand in title), None) for title in items["title"]]
    codes = [f"a{at % 7} b{at % 5} c{at}" for at in range(len(brands))]
    return RecDataset(
        name="made-up purchases of one category",
        interactions=interactions_table(rating=[1.0] * len(columns["user_id"]), **columns),
        items=table({**items, "brand": brands, "codes": codes}),
        users=table({"user_id": order}),
        rating_range=(0, 1),
        licence=made.licence,
        notes=made.notes,
        feedback="implicit",
        repeats=True,
    )
