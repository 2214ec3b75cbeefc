"""Made-up purchases: the next product is of the family that follows the last one's, or of the same family.

Families form a circle: after a soldering iron comes solder, after solder a desoldering pump. A title names its
family in one of two ways, among brand, model number and pack size, which carry no information. Two products of each
family are new: they occur only as the last or the second last purchase, so never in training, and only their titles
say which products they follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmrec_peft.plugins import RecDataset, interactions_table, table
from llmrec_recipes.benchmarks.tallrec_movie.demo import MADE_UP

USERS, ITEMS_PER_FAMILY, NEW_PER_FAMILY = 300, 11, 2
SHORTEST, LONGEST = 5, 10
FOLLOWS, STAYS = 0.65, 0.15
"""Chances that the next purchase is of the following family, or of the same one; else it is of a random family."""
NEW_CHANCE = 0.3
"""Chance that each of a sequence's last two purchases is a new product."""
FAMILIES = (
    ("soldering iron", "soldering station"),
    ("rosin core solder", "lead free solder wire"),
    ("desoldering pump", "solder sucker"),
    ("digital multimeter", "voltage tester"),
    ("alligator clip leads", "test lead set"),
    ("heat shrink tubing", "cable sleeve kit"),
    ("wire stripper", "cable cutter pliers"),
    ("nitrile gloves", "disposable hand gloves"),
    ("safety goggles", "protective eyewear"),
    ("dust respirator", "face mask with filter"),
    ("3D printer filament", "PLA printing spool"),
    ("brass extruder nozzle", "hot end print nozzle"),
    ("stepper motor", "linear drive motor"),
    ("timing belt", "toothed drive belt"),
    ("ball bearing", "roller bearing"),
    ("bearing grease", "machine lubricant"),
    ("glass beaker", "laboratory flask"),
    ("pH meter", "acidity test strips"),
)
"""Two names for each family; the family after the last one is the first."""
BRANDS = "Orvex Halden Kestrel Tamaro Blixt Norvik Pellworm Quade".split()
USES = ("for Home Use", "Professional Grade", "Heavy Duty", "Compact", "Industrial", "with Storage Case")


def demo_dataset(seed: int) -> RecDataset:
    """Make up products and sequences of purchases; ids have the form of the real ones.

    Args:
        seed: Seed of all random draws.
    """
    rng = np.random.default_rng([seed, 17])
    count = ITEMS_PER_FAMILY * len(FAMILIES)
    family = np.repeat(np.arange(len(FAMILIES)), ITEMS_PER_FAMILY)
    new = np.arange(count) % ITEMS_PER_FAMILY < NEW_PER_FAMILY
    ids = [f"B{item:09d}" for item in rng.permutation(10**6)[:count]]
    titles = [_title(rng, FAMILIES[one]) for one in family]
    columns: dict[str, list[Any]] = {name: [] for name in ("user_id", "item_id", "rating", "timestamp", "part")}
    people = [f"A{user:012d}" for user in range(1, USERS + 1)]
    for person in people:
        length = int(rng.integers(SHORTEST, LONGEST + 1))
        at = int(rng.integers(len(FAMILIES)))
        for place in range(length):
            held_out = place >= length - 2
            wanted = new if held_out and rng.random() < NEW_CHANCE else ~new
            item = int(rng.choice(np.flatnonzero((family == at) & wanted)))
            columns["user_id"].append(person)
            columns["item_id"].append(ids[item])
            columns["rating"].append(1.0)
            columns["timestamp"].append(place)
            columns["part"].append("train" if not held_out else "valid" if place == length - 2 else "test")
            at = _next(rng, at)
    return RecDataset(
        name="made-up purchases",
        interactions=interactions_table(**columns),
        items=table({"item_id": ids, "title": titles}),
        users=table({"user_id": people}),
        rating_range=(0, 1),
        licence="Made up by this package with a fixed seed; nobody's purchases.",
        notes=(MADE_UP,),
        feedback="implicit",
        repeats=True,
    )


def _next(rng: np.random.Generator, family: int) -> int:
    """Draw the family of the next purchase."""
    chance = rng.random()
    if chance < FOLLOWS:
        return (family + 1) % len(FAMILIES)
    return family if chance < FOLLOWS + STAYS else int(rng.integers(len(FAMILIES)))


def _title(rng: np.random.Generator, names: tuple[str, str]) -> str:
    brand, use, name = rng.choice(BRANDS), rng.choice(USES), rng.choice(names)
    model, pack = f"{rng.choice(list('KLMTX'))}{rng.integers(100, 999)}", rng.choice(["", ", Pack of 2", ", Pack of 5"])
    shapes = (f"{brand} {model} {name.title()}, {use}{pack}", f"{use} {name.title()} - {brand} {model}{pack}")
    return str(rng.choice(shapes))
