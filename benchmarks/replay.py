"""Replay MovieLens-100K month by month: a stale model, a full retrain, `llmrec update`, and counts kept up to date.

    python benchmarks/replay.py --data ../shared/data --work runs/replay

Trained on September and October 1997; then each month is learned and the next one is predicted before it is. Users and
items appear with their first rating. A tenth of the first two months is learned by nobody: the old window, on which
forgetting shows. Finished steps are kept in the work folder; the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec_peft import Recommender
from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.artifact.manifest import make_manifest, write_json
from llmrec_peft.data.dataset import RecDataset, arrow, column, numbers, selected
from llmrec_peft.evaluation.baselines.foldable import SHRINK
from llmrec_peft.evaluation.intervals import paired_rmse_interval
from llmrec_peft.evaluation.weighted import auc_figure
from llmrec_peft.experiment.experiment import open_run
from llmrec_peft.experiment.fitting import fit_variant
from llmrec_peft.experiment.prepare import read_source
from llmrec_peft.experiment.staging import recommender_of, stage
from llmrec_peft.identity import __version__
from llmrec_peft.model.warm_start import trained_tensors
from llmrec_peft.progress import SILENT
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.workflows.train import train
from llmrec_peft.workflows.update import Asked, update

HERE = Path(__file__).parent
FIRST_MONTHS, LIKED = 2, 4.0
OLD_SHARE = 0.1
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Months:
    """The data, and the month of each rating.

    Attributes:
        dataset: All of it.
        user: User of each rating.
        item: Its item.
        rating: Its stars.
        time: Its time.
        month: Number of its month, from 0.
        names: Names of the months.
        old: Ratings of the old window, which nobody learns.
    """

    dataset: RecDataset
    user: NDArray[np.str_]
    item: NDArray[np.str_]
    rating: Floats
    time: Rows
    month: Rows
    names: list[str]
    old: Rows

    @classmethod
    def of(cls, dataset: RecDataset) -> Months:
        """Divide a dataset by months."""
        table = dataset.interactions
        time = np.asarray(numbers(table, "timestamp"), np.int64)
        names, month = np.unique(time.astype("datetime64[s]").astype("datetime64[M]"), return_inverse=True)
        first = np.flatnonzero(month < FIRST_MONTHS)
        old = np.sort(np.random.default_rng(0).choice(first, round(OLD_SHARE * len(first)), replace=False))
        ids = (np.array(column(table, "user_id")), np.array(column(table, "item_id")))
        rating = np.asarray(numbers(table, "rating"), np.float64)
        return cls(dataset, *ids, rating, time, month, [str(name) for name in names], old)

    def learnable(self, first: int, last: int) -> Rows:
        """Ratings of some months without the old window."""
        return np.setdiff1d(np.flatnonzero((self.month >= first) & (self.month <= last)), self.old)

    def part(self, rows: Rows) -> RecDataset:
        """Return some ratings with their users and items."""
        tables = {}
        for name, key, there in (("users", "user_id", self.user[rows]), ("items", "item_id", self.item[rows])):
            table = getattr(self.dataset, name)
            tables[name] = selected(table, np.flatnonzero(np.isin(np.array(column(table, key)), there)))
        return replace(self.dataset, interactions=selected(self.dataset.interactions, rows), **tables)


@dataclass
class Cost:
    """What a step took: processor seconds, and training examples times epochs."""

    processor_seconds: float
    examples: int


def retrain(recipe: Recipe, months: Months, last: int, run: Path) -> Cost:
    """Train from the beginning on all months up to one, and nothing beside the model: no reference, no baselines."""
    began, work = time.process_time(), run.with_name(f"{run.name}-work")
    opened = open_run(recipe, work, SILENT, months.part(months.learnable(0, last)))
    experiment, texts = opened.read_texts()
    prepared = experiment.prepared
    fitted = fit_variant(experiment, experiment.recipe, "after", "tuned")
    trained = trained_tensors(fitted.model)
    stage(run, recommender_of(fitted.model, prepared, texts), prepared, texts, trained)
    manifest = make_manifest(run, opened.backbone.identity.plain(), __version__)
    write_json(run / "manifest.json", manifest.model_dump(mode="json"))
    shutil.rmtree(work)
    search = fitted.search
    examples = len(search.history) * len(prepared.train) + search.best_epoch * len(prepared.protocol.learned)
    return Cost(time.process_time() - began, examples)


def updated(before: Path, months: Months, last: int, run: Path, overrides: tuple[str, ...]) -> Cost:
    """Update the run of the month before with a month; all of the command counts, comparing and drift included."""
    began = time.process_time()
    how = Asked(force=True, overwrite=True, overrides=overrides, show=False)
    told = update(before, None, run, how, months.part(months.learnable(last, last)))["update"]
    return Cost(time.process_time() - began, told["examples"])


def kept(run: Path, make: Callable[[Path], Cost]) -> Cost:
    """Make a run, or return what it cost where it is there."""
    told = run.with_name(f"{run.name}-cost.json")
    if not told.exists():
        shutil.rmtree(run, ignore_errors=True)
        write_json(told, asdict(make(run)))
    return Cost(**json.loads(told.read_text(encoding="utf-8")))


def predictions(runs: dict[str, Path], months: Months, asked: Rows) -> dict[str, tuple[Floats, Floats]]:
    """Predict some ratings and the old window as each run folder answers; unknown items are added with their texts."""
    described = {row["item_id"]: row for row in arrow(months.dataset.items).to_pylist()}
    found: dict[str, tuple[Floats, Floats]] = {}
    shared: Recommender | None = None
    for name, run in runs.items():
        recommender = Recommender.from_pretrained(run, base=shared)
        shared = recommender if shared is None else shared
        known = set(recommender.vocabulary.items)
        every = np.concatenate([months.item[asked], months.item[months.old]])
        new = [item for item in dict.fromkeys(every.tolist()) if item not in known]
        if new:
            recommender.add_items([described[item] for item in new])
        ids = (months.user, months.item)
        ids = (months.user, months.item)
        scores = [recommender.score(*(one[rows].tolist() for one in ids)) for rows in (asked, months.old)]
        found[name] = scores[0].astype(np.float64), scores[1].astype(np.float64)
    return found


class Counts:
    """μ + b_u + b_i of shrunk means, each a sum and a number that the next rating is added to."""

    def __init__(self, user_shrink: float, item_shrink: float) -> None:
        self.shrink = {"user": user_shrink, "item": item_shrink}
        self.sums: dict[tuple[str, str], list[float]] = {}
        self.total, self.count = 0.0, 0

    def _bias(self, side: str, one: str) -> float:
        total, count = self.sums.get((side, one), (0.0, 0.0))
        return total / (count + self.shrink[side])

    def predict(self, user: str, item: str) -> float:
        """Predict a rating, between 1 and 5."""
        mean = self.total / max(1, self.count)
        return min(5.0, max(1.0, mean + self._bias("user", user) + self._bias("item", item)))

    def learn(self, user: str, item: str, rating: float) -> None:
        """Add a rating: the item's sum takes it less the mean, the user's less mean and item."""
        self.total, self.count = self.total + rating, self.count + 1
        mean = self.total / self.count
        for side, one, value in (
            ("user", user, rating - mean - self._bias("item", item)),
            ("item", item, rating - mean),
        ):
            pair = self.sums.setdefault((side, one), [0.0, 0.0])
            pair[0], pair[1] = pair[0] + value, pair[1] + 1.0


def counted(months: Months, last: int, asked: Rows, shrinks: tuple[float, float], follow: bool) -> Floats:
    """Predict ratings by counts of all months up to one; with `follow`, each rating counts for those after it."""
    counts = Counts(*shrinks)
    for row in _in_time(months, months.learnable(0, last)):
        counts.learn(months.user[row], months.item[row], months.rating[row])
    found = np.zeros(len(months.rating))
    for row in _in_time(months, asked):
        found[row] = counts.predict(months.user[row], months.item[row])
        if follow:
            counts.learn(months.user[row], months.item[row], months.rating[row])
    return found[asked]


def _in_time(months: Months, rows: Rows) -> list[int]:
    ordered: list[int] = rows[np.argsort(months.time[rows], kind="stable")].tolist()
    return ordered


def best_shrinks(months: Months, follow: bool) -> tuple[float, float]:
    """Choose both shrinks by the last of the first months, predicted from those before it."""
    last = FIRST_MONTHS - 1
    rows = months.learnable(last, last)
    tried = {
        (user, item): _rmse(counted(months, last - 1, rows, (user, item), follow), months.rating[rows])
        for user in SHRINK[1:]
        for item in SHRINK[1:]
    }
    return min(tried, key=lambda pair: tried[pair])


def _rmse(predicted: Floats, observed: Floats) -> float:
    return float(np.sqrt(np.mean((predicted - observed) ** 2)))


def measured(predicted: Floats, old: Floats, months: Months, rows: Rows) -> dict[str, float]:
    """Figures on the next month and on the old window."""
    observed = months.rating[rows]
    liked = auc_figure(predicted, (observed >= LIKED).astype(np.float64))
    figures = {"rmse": _rmse(predicted, observed), "auc": liked(np.ones(len(rows)))}
    return {**figures, "old_rmse": _rmse(old, months.rating[months.old])}


def step(recipe: Recipe, months: Months, last: int, work: Path, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Learn a month with each method, and predict the next one."""
    asked = np.flatnonzero(months.month == last + 1)
    before = work / ("start" if last == FIRST_MONTHS else f"update-{months.names[last - 1]}")
    runs = {name: work / f"{name}-{months.names[last]}" for name in ("retrain", "update")}
    costs = {
        "stale": Cost(0.0, 0),
        "update": kept(runs["update"], lambda run: updated(before, months, last, run, overrides)),
        "retrain": kept(runs["retrain"], lambda run: retrain(recipe, months, last, run)),
    }
    runs["stale"] = work / "start"
    told = json.loads((runs["update"] / "metrics.json").read_text(encoding="utf-8"))["update"]
    answers = predictions(runs, months, asked)
    said, old = ({name: both[at] for name, both in answers.items()} for at in (0, 1))
    for name, follow in (("counts", False), ("counts, every rating", True)):
        shrinks = best_shrinks(months, follow)
        began = time.process_time()
        said[name] = counted(months, last, asked, shrinks, follow)
        costs[name] = Cost(time.process_time() - began, len(months.learnable(0, last)))
        old[name] = counted(months, last, months.old, shrinks, follow=False)
    _, person = np.unique(months.user[asked], return_inverse=True)
    observed = months.rating[asked]
    intervals = {
        f"update minus {name}": paired_rmse_interval(said["update"], said[name], observed, person, 2000).plain()
        for name in said
        if name != "update"
    }
    methods = {
        name: {
            **measured(said[name], old[name], months, asked),
            "processor_seconds": round(costs[name].processor_seconds, 2),
            "examples": costs[name].examples,
        }
        for name in said
    }
    shown = ("promoted", "reason", "new", "replayed", "learned", "newest", "old")
    return {
        "learned": months.names[last],
        "predicted": months.names[last + 1],
        "ratings": len(asked),
        "methods": methods,
        "intervals": intervals,
        "update": {name: told[name] for name in shown},
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum costs and average figures over the steps, weighted by their ratings."""
    weights = np.array([row["ratings"] for row in rows], np.float64)
    found: dict[str, Any] = {}
    for name in rows[0]["methods"]:
        of = [row["methods"][name] for row in rows]
        squares = np.array([one["rmse"] ** 2 for one in of])
        found[name] = {
            "rmse": float(np.sqrt((weights * squares).sum() / weights.sum())),
            "auc": float((weights * [one["auc"] for one in of]).sum() / weights.sum()),
            "old_rmse": of[-1]["old_rmse"],
            "processor_seconds": round(sum(one["processor_seconds"] for one in of), 1),
            "examples": sum(one["examples"] for one in of),
        }
    for cost in ("processor_seconds", "examples"):
        found["update"][f"{cost}_of_retrain"] = found["update"][cost] / found["retrain"][cost]
    return found


def main() -> None:
    """Replay every month and write the results after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/replay"), help="where runs and finished steps lie")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of update")
    parser.add_argument("--steps", type=int, default=None, help="months to learn; all by default")
    parser.add_argument("--retrain", action="store_true", help="only retrain, the last month first; beside another one")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "replay.json")
    arguments = parser.parse_args()
    changes = {
        "data.path": str(arguments.data / "ml-100k"),
        "data.split": "random",
        "data.test_fraction": 0.05,
        "seed": arguments.seed,
        "evaluation.bootstrap": 0,
        "evaluation.ablations": (),
    }
    recipe = load_recipe("movies", [], changes)
    months, work = Months.of(read_source(recipe.data)), arguments.work / f"seed{arguments.seed}"
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "start").exists():
        train(recipe, work / "start", show=False, dataset=months.part(months.learnable(0, FIRST_MONTHS - 1)))
    steps = range(FIRST_MONTHS, len(months.names) - 1)[: arguments.steps]
    if arguments.retrain:
        for last in reversed(steps):
            kept(work / f"retrain-{months.names[last]}", partial(retrain, recipe, months, last))
        return
    rows = []
    for last in steps:
        done = work / f"step-{months.names[last]}.json"
        if not done.exists():
            write_json(done, step(recipe, months, last, work, tuple(arguments.set)))
        rows.append(json.loads(done.read_text(encoding="utf-8")))
        figures = {name: round(one["rmse"], 4) for name, one in rows[-1]["methods"].items()}
        print(rows[-1]["learned"], "->", rows[-1]["predicted"], figures, flush=True)
    about = {"seed": arguments.seed, "set": arguments.set, "versions": versions(), "hardware": hardware("cpu")}
    about["threads"] = torch.get_num_threads()
    write_json(arguments.out, {**about, "summary": summary(rows), "rows": rows})
    print(arguments.out)


if __name__ == "__main__":
    main()
