"""Small data: is what a run recommends ever worse than the best simple baseline?

Amazon Magazines whole, and 500, 2,000 and 8,000 interactions of MovieLens-100K (stars), FilmTrust (stars, no texts)
and CoLLM's MovieLens-1M (likes), drawn at random, another draw for each seed. Every cell is trained as `llmrec train`
trains it by default, and its test part is predicted once.

    python benchmarks/small_data.py --data DIR       # writes benchmarks/results/small_data.json and .md

Cells that stand in the result are not trained again; ``--only filmtrust`` trains some.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from small_data_report import LOWER, write_report

from llmrec_peft import registry
from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.data.dataset import column, selected
from llmrec_peft.evaluation.intervals import wider
from llmrec_peft.plugins import Reader, RecDataset, interactions_table, table
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.workflows.train import train

RESULTS = Path(__file__).parent / "results" / "small_data.json"
SEEDS = (1, 2, 3)
SIZES = (500, 2000, 8000)
READER = "small-data"


@dataclass(frozen=True)
class Source:
    """One set of which interactions are drawn.

    Attributes:
        split: How a subsample is divided.
        changes: What its recipe changes in that of `ecommerce`.
    """

    split: str
    changes: Mapping[str, Any]


AS_MEASURED = {
    "training.epochs": 10,
    "training.embeddings": {"learning_rate": 0.002, "weight_decay": 1.0},
    "signals.graph": False,
}
"""Settings of `ecommerce` when the committed results were measured, where it has others now."""
_FILM = "{{ title }}{% if year %} ({{ year }}){% endif %}. {% if genres %}{{ genres | join(', ') }}.{% endif %}"
SOURCES = {
    "ml-100k": Source("temporal", {"views.item.template": _FILM}),
    "filmtrust": Source(
        "random",
        {"views.item.template": "{{ title }}", "adapter": {"method": "none"}, "signals.text": False},
    ),
    "collm-ml-1m": Source(
        "temporal",
        # two films of one title: where a user judged both, the check finds a text in its own history
        {"views.item.template": "{{ title }}", "head": {"name": "click"}, "data.allow_leakage": True},
    ),
}


class SmallData(Reader):
    """Some interactions of a set; a path ``DIR/NAME@SIZE@SEED`` says which."""

    summary: ClassVar[str] = "some interactions of a published set"

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Draw interactions, and keep the users and items that they name."""
        name, size, seed = path.name.split("@")
        whole = _whole(name, path.parent / name)
        rng = np.random.default_rng([int(seed), int(size)])
        drawn = np.sort(rng.permutation(len(whole.interactions))[: int(size)])
        kept = ["user_id", "item_id", "rating", "timestamp"]
        interactions = interactions_table(**{of: column(selected(whole.interactions, drawn), of) for of in kept})
        named = {side: set(column(interactions, side)) for side in ("user_id", "item_id")}
        return replace(
            whole,
            name=f"{whole.name}, {size} drawn",
            interactions=interactions,
            users=_with_ids(whole.users, "user_id", named["user_id"]),
            items=_with_ids(whole.items, "item_id", named["item_id"]),
        )


def _whole(name: str, folder: Path) -> RecDataset:
    if name == "ml-100k":
        found: RecDataset = registry.get("readers", "movies")().read(folder, None)
        return found
    if name == "collm-ml-1m":
        found = registry.get("readers", "collm-ml-1m")().read(folder, None)
        return found
    rows = [line.split() for line in (folder / "ratings.txt").read_text(encoding="utf-8").splitlines() if line]
    users, items = (list(dict.fromkeys(row[at] for row in rows)) for at in (0, 1))
    return RecDataset(
        name="FilmTrust",
        interactions=interactions_table(
            user_id=[row[0] for row in rows],
            item_id=[row[1] for row in rows],
            rating=[float(row[2]) for row in rows],
            timestamp=list(range(len(rows))),
        ),
        items=table({"item_id": items, "title": [f"film {item}" for item in items]}),
        users=table({"user_id": users}),
        rating_range=(0.5, 4.0),
    )


def _with_ids(whole: Any, name: str, ids: set[str]) -> Any:
    return selected(whole, np.flatnonzero([one in ids for one in column(whole, name)]).astype(np.int64))


@dataclass(frozen=True)
class Cell:
    """One training: a set, how many interactions of it (None for all), and a seed."""

    source: str
    size: int | None
    seed: int

    @property
    def name(self) -> str:
        """Name in the result."""
        return f"{self.source}-{self.size or 'all'}-seed{self.seed}"

    def recipe(self, data: Path) -> Recipe:
        """Return the recipe: that of `ecommerce`, with the set's texts, split and head."""
        if self.size is None:
            changes = {**AS_MEASURED, "data.path": str(data / self.source), "seed": self.seed}
            return load_recipe("ecommerce", changes=changes)
        chosen = SOURCES[self.source]
        return load_recipe(
            "ecommerce",
            changes={
                **AS_MEASURED,
                "name": f"small-{self.source}",
                "seed": self.seed,
                "data.reader": READER,
                "data.path": str(data / f"{self.source}@{self.size}@{self.seed}"),
                "data.split": chosen.split,
                "data.split_seed": self.seed,
                "views.item.max_length": 48,
                **chosen.changes,
            },
        )


def cells() -> Iterator[Cell]:
    """Yield every cell, the quick ones first."""
    for seed in SEEDS:
        yield Cell("amazon-magazines", None, seed)
    for size in SIZES:
        for source in SOURCES:
            for seed in SEEDS:
                yield Cell(source, size, seed)


def measured(cell: Cell, data: Path) -> dict[str, Any]:
    """Train a cell and return its row."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        metrics = train(cell.recipe(data), Path(place) / "run", show=False)
    metric = metrics["primary_metric"]
    figures = {name: one[metric] for name, one in metrics["test"].items() if metric in one}
    figures |= {name: one[metric] for name, one in metrics["test"]["baselines"].items()}
    own = [name for name in metrics["test"]["baselines"] if name not in (_by_folds(metrics), "collaborative_only")]
    best = (min if metric in LOWER else max)(own, key=lambda name: figures[name])
    return {
        "source": cell.source,
        "size": cell.size,
        "seed": cell.seed,
        "metric": metric,
        "parts": {name: metrics["data"][name] for name in ("train", "valid", "test", "users", "items")},
        "test": figures,
        "best_on_test": best,
        "against_best_on_test": _compared(metrics, best),
        "against_after": _compared(metrics, "after"),
        "recommended": metrics["recommended"],
        "seconds": round(time.monotonic() - started, 1),
    }


def _by_folds(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['recommended'].get('baseline')}_by_folds"


def _compared(metrics: Mapping[str, Any], other: str) -> dict[str, Any]:
    """Return the wider paired interval of what is recommended less another model, and whether it is worse."""
    intervals = metrics["comparisons"][f"recommended_minus_{other}"]
    unit = wider(intervals)
    one = intervals[unit]
    lower = metrics["primary_metric"] in LOWER
    worse = one["low"] > 0.0 if lower else one["high"] < 0.0
    better = one["high"] < 0.0 if lower else one["low"] > 0.0
    return {"unit": unit, **one, "verdict": "worse" if worse else "better" if better else "no difference"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing and write the result after each cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets")
    parser.add_argument("--out", type=Path, default=RESULTS, help="result file")
    parser.add_argument("--only", default="", help="train cells whose name contains this")
    chosen = parser.parse_args(arguments)
    entry = EntryPoint(READER, f"{__name__}:SmallData", "llmrec_peft.readers")
    registry.plugins("readers")[READER] = registry.Plugin("readers", READER, entry)
    rows: dict[str, Any] = {}
    if chosen.out.is_file():
        rows = json.loads(chosen.out.read_text(encoding="utf-8"))["cells"]
    for cell in cells():
        if cell.name not in rows and chosen.only in cell.name:
            rows[cell.name] = measured(cell, chosen.data)
            print(f"{cell.name}: {rows[cell.name]['recommended'].get('says')} ({rows[cell.name]['seconds']:.0f} s)")
            _write(chosen.out, {one.name: rows[one.name] for one in cells() if one.name in rows})


def _write(out: Path, rows: Mapping[str, Any]) -> None:
    result = {"versions": versions(), "hardware": hardware("cpu"), "cells": rows}
    with whole_file(out) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    write_report(out)


if __name__ == "__main__":
    main()
