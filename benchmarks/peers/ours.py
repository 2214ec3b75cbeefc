"""Ours: this package's own figures on a task, and paired intervals between its runs and a peer."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmrec_peft.artifact.predictions import numbered
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.intervals import group_interval, no_difference, wider
from llmrec_peft.evaluation.measures import LOWER_IS_BETTER
from llmrec_peft.evaluation.outcomes import Outcome, Ranks
from llmrec_peft.recipe.measurements import measurements_of
from llmrec_peft.workflows.compare import Run
from peers.tasks import Arena, Task

RESULTS = Path(__file__).parents[1] / "results"
RESAMPLES = 2000
"""Resamples of each interval."""


@dataclass(frozen=True)
class Ours:
    """What this package's runs of a task answer on test.

    Attributes:
        model: What the runs answer with: the tuned model, or the recommended blend.
        seeds: Seeds of the runs.
        outcomes: One a run.
    """

    model: str
    seeds: tuple[int, ...]
    outcomes: tuple[Outcome, ...]

    @classmethod
    def among(cls, folders: Sequence[Path], arena: Arena) -> Ours | None:
        """Return the runs of a task's recipe that were tested on its very examples; None where there are none."""
        users, items = arena.prepared.ids(arena.prepared.test)
        order = np.lexsort((arena.prepared.test.label, numbered(items), numbered(users)))  # that of predictions
        asked = [(users[row], items[row]) for row in order.tolist()]
        runs = []
        for folder in folders:
            run = Run.read(folder)
            alike = list(zip(run.predictions.user, run.predictions.item, strict=True)) == asked
            if run.recipe["name"] == arena.prepared.recipe.name and alike:
                runs.append(run)
        if not runs:
            return None
        told = [run.head(None).models for run in runs]
        model = "recommended" if all("recommended" in models for models in told) else "after"
        seeds = tuple(int(run.recipe["seed"]) for run in runs)
        if len(set(seeds)) < len(seeds):  # such as those of two matrices, which are not one model
            raise InputError(f"{arena.task.name}: --runs has several runs of one seed: give one run a seed")
        place = np.argsort(order)
        return cls(model, seeds, tuple(_outcome(arena, models[model][place]) for models in told))

    def plain(self, arena: Arena) -> dict[str, Any]:
        """Return the figures as plain values."""
        metrics = _resampled(arena)
        part = arena.prepared.test
        even = np.ones(len(part))
        figures = {
            metric: [float(arena.measure.weighted(metric, outcome, part)(even)) for outcome in self.outcomes]
            for metric in metrics
        }
        return {"model": self.model, "seeds": list(self.seeds), "test": figures}

    def minus(self, peer: Sequence[Outcome], arena: Arena) -> dict[str, Any]:
        """Return our mean less a peer's with its wider 95 % interval, over users or items and seeds, by metric."""
        part, found = arena.prepared.test, {}
        for metric in _resampled(arena):
            sides = [
                [arena.measure.weighted(metric, outcome, part) for outcome in group] for group in (self.outcomes, peer)
            ]
            intervals = {
                unit: group_interval(sides[0], sides[1], cluster, RESAMPLES).plain()
                for unit, cluster in arena.measure.clusters(metric, part).items()
            }
            unit = wider(intervals)
            known = {name: intervals[unit][name] for name in ("difference", "low", "high")}
            found[metric] = {**known, "unit": unit.removeprefix("by_"), "differs": not no_difference(intervals)}
        return found


def committed(task: Task, metric: str) -> dict[str, Any] | None:
    """Return what the recipe's ``figures.json``, or a committed report, says of a task; None where both are silent."""
    for one in measurements_of(task.recipe):
        if one.data == task.data and dict(one.set) == dict(task.set) and one.result is not None:
            served = one.result.test.served
            return {"model": served.name, "seeds": list(one.result.seeds), "test": {metric: list(served.figures)}}
    if task.report is None:
        return None
    file, label = task.report
    rows = json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8"))["rows"]
    own = [row for row in rows if row["axes"]["recipe"] == label and row["status"] == "ok"]
    figures = [row["accuracy"]["test"]["after"][metric] for row in own]
    return {"model": "after", "seeds": [row["axes"]["seed"] for row in own], "test": {metric: figures}}


def ahead(metric: str, ours: Sequence[float], peer: Sequence[float]) -> bool:
    """Return whether a peer's mean figure is better than ours."""
    first, second = statistics.mean(ours), statistics.mean(peer)
    return second < first if metric in LOWER_IS_BETTER else second > first


def _resampled(arena: Arena) -> tuple[str, ...]:
    return (arena.metric,) if arena.kind == "rating" else ("hr@10", "ndcg@10")


def _outcome(arena: Arena, values: Any) -> Outcome:
    """Return a run's predictions as an outcome; of rankings it keeps ranks alone."""
    if arena.kind == "rating":
        return np.asarray(values, np.float64)
    return Ranks(np.asarray(values, np.float64), np.zeros((len(values), 0), np.int64))
