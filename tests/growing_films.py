"""Made-up films whose users and titles come with time, and the quick recipe with which updates of them are tried."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llmrec_peft.data.dataset import RecDataset, column, numbers, selected
from llmrec_peft.experiment.prepare import read_source
from llmrec_peft.recipe import load_recipe


def changes(backbone: Path, **more: Any) -> dict[str, Any]:
    """Return changes of a recipe that make its training quick."""
    told = {"data.path": "demo", "backbone.name": str(backbone), "backbone.precision": "fp32", "data.split": "temporal"}
    quick = {"training.epochs": 3, "training.refit": False, "evaluation.bootstrap": 0, "evaluation.ablations": ()}
    return {**told, **quick, "training.choice": "validation", **more}


def growing_films() -> RecDataset:
    """Return made-up films; in the first half of the time thirty of the users and of the items are not there yet."""
    data = read_source(load_recipe("movies", [], {"data.path": "demo"}).data)
    time = np.asarray(numbers(data.interactions, "timestamp"))
    user, item = (np.array(column(data.interactions, name), np.int64) for name in ("user_id", "item_id"))
    late = (user > user.max() - 30) | (item > item.max() - 30)
    return replace(
        data, interactions=selected(data.interactions, np.flatnonzero(~late | (time > np.quantile(time, 0.5))))
    )


def until(dataset: RecDataset, share: float, after: float = 0.0) -> RecDataset:
    """Return the interactions of a stretch of time, with the users and items that they name."""
    time = numbers(dataset.interactions, "timestamp")
    first, last = np.quantile(time, [after, share])
    kept = selected(dataset.interactions, np.flatnonzero((time <= last) & ((time > first) | (after == 0.0))))
    tables = {}
    for name, key in (("users", "user_id"), ("items", "item_id")):
        table, there = getattr(dataset, name), set(column(kept, key))
        rows = [at for at, one in enumerate(column(table, key)) if one in there]
        tables[name] = selected(table, np.array(rows))
    return replace(dataset, interactions=kept, **tables)
