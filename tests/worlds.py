"""Worlds: small made-up likes in CoLLM's files, and one variant of a recipe fitted on them without any text."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmrec_peft.evaluation.outcomes import Outcome
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.experiment.baselines import baselines_of
from llmrec_peft.experiment.experiment import Experiment
from llmrec_peft.experiment.fitting import FittedVariant, fit_variant
from llmrec_peft.experiment.prepare import Prepared, prepare
from llmrec_peft.recipe import Recipe
from llmrec_peft.training.accelerator import make_accelerator

USERS, ITEMS = 16, 20
DAY = 86_400


@dataclass(frozen=True)
class Like:
    """One record: who liked (1) or disliked (0) what, on which day, and whose part it is."""

    user: int
    item: int
    label: int
    day: int
    part: str


def made_up_likes(seed: int = 0) -> list[Like]:
    """Thirteen records of each user; on day 84 of the test everyone judges two films at the same moment."""
    rng = random.Random(seed)
    records = []
    for user in range(1, USERS + 1):
        days = [*sorted(rng.sample(range(60), 7)), 60 + user % 4, 66, 80 + user % 3, 84, 84, 90 + user % 2]
        parts = ["train"] * 7 + ["valid"] * 2 + ["test"] * 4
        for item, day, part in zip(rng.sample(range(1, ITEMS + 1), len(days)), days, parts, strict=True):
            liked = (user + item) % 2 if rng.random() < 0.8 else rng.randrange(2)
            records.append(Like(user, item, liked, day, part))
    return records


def turned(records: Sequence[Like], chosen: Iterable[Like]) -> list[Like]:
    """The same records, some of them with the other label."""
    found = set(chosen)
    return [replace(one, label=1 - one.label) if one in found else one for one in records]


def write_likes(folder: Path, records: Sequence[Like], items: int = ITEMS) -> Path:
    """Write records in CoLLM's files, as many items as asked for, each with a title."""
    folder.mkdir(parents=True)
    for part in ("train", "valid", "test"):
        rows = [
            {
                "uid": one.user,
                "iid": one.item,
                "his": [0],
                "label": one.label,
                "timestamp": one.day * DAY,
                "not_cold": 1,
            }
            for one in records
            if one.part == part
        ]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    titles = "".join(f'{item},"Film Number {item} ({1950 + item})"\n' for item in range(1, items + 1))
    (folder / "item_titles.csv").write_text(f"iid,title\n0,\n{titles}", encoding="utf-8")
    return folder


def fitted(recipe: Recipe, folder: Path) -> tuple[Recipe, Prepared, FittedVariant]:
    """Fit a recipe that reads no text."""
    prepared = prepare(recipe)
    recipe = prepared.recipe
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator((), folder)
    return recipe, prepared, fit_variant(Experiment(prepared, accelerator, folder), recipe, "work", "test")


def said_of_test(recipe: Recipe, prepared: Prepared, model: FittedVariant, head: str | None = None) -> Outcome:
    """What the fitted model says of the test part."""
    protocol = prepared.protocol
    return outcome_of(model.model, head or recipe.head.name, prepared.test, protocol, protocol.learned)


def lines_of_test(recipe: Recipe, prepared: Prepared) -> dict[str, np.ndarray[Any, Any]]:
    """What every baseline that reads no text predicts for the test part."""
    found = baselines_of(recipe.head.name, prepared, None)
    return {baseline.name: np.asarray(baseline.test) for baseline in found}
