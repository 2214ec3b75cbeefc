"""Read the committed result files of benchmarks/results: reports of `llmrec bench`, and those of the other scripts."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmrec_peft.evaluation.intervals import no_difference, wider

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
COLLABORATIVE_ONLY = ("collaborative_only", "biased_mf")
"""Names of models that read no text: of clicks and rankings, and of ratings."""
LOWER_IS_BETTER = ("rmse", "mae", "log_loss")
BEST = "best baseline"
"""The model that stands for each run's own best baseline."""

Figures = Mapping[str, Mapping[str, Sequence[float]]]
"""Figures of each run by model and metric."""


@dataclass(frozen=True)
class Difference:
    """A paired difference between two models, with the wider of its 95 % intervals.

    Attributes:
        value: The difference.
        low: Lower bound of the interval.
        high: Upper bound.
        unit: What was resampled: user, person or item.
        proven: Whether no interval, whatever was resampled, contains zero.
    """

    value: float
    low: float
    high: float
    unit: str
    proven: bool


@dataclass(frozen=True)
class Benchmark:
    """What the models of one recipe reached on one data set, over seeds or splits.

    Attributes:
        adapter_parameters: Parameters trained inside the language model.
        collaborative_only: The model without texts, by its name in `valid` and `test`, if there is one.
        valid: Validation figures.
        test: Test figures.
        published: What the literature reports, with its model.
        new_items: Test figures on items without training interactions.
        new_items_count: How many test examples those are.
        against: Differences to the best baseline over all runs, by model and metric.
        comparisons: Differences `after` minus another model, one a run.
    """

    adapter_parameters: int
    collaborative_only: str | None
    valid: Figures
    test: Figures
    published: Mapping[str, Any] = field(default_factory=dict)
    new_items: Figures = field(default_factory=dict)
    new_items_count: int = 0
    against: Mapping[tuple[str, str], Difference] = field(default_factory=dict)
    comparisons: Mapping[str, Sequence[Difference]] = field(default_factory=dict)

    def mean(self, model: str, metric: str) -> float:
        """The mean test figure over runs."""
        return statistics.mean(self.test[model][metric])

    def beats_best_baseline(self, metric: str, model: str = "after") -> bool:
        """Whether the mean test figure is better than that of the best baseline."""
        own, baseline = self.mean(model, metric), self.mean(BEST, metric)
        return own < baseline if metric in LOWER_IS_BETTER else own > baseline

    def minus_best_baseline(self, metric: str) -> Difference:
        """`after` minus the best baseline over all runs; where each run has its own, that which is nearest to zero."""
        if ("after", metric) in self.against:
            return self.against["after", metric]
        return min(self.comparisons[BEST], key=lambda one: min(abs(one.low), abs(one.high)))

    def significantly(self, metric: str) -> bool:
        """Whether `after` differs from the best baseline by the paired bootstrap (95 %), whatever is resampled.

        Where each run has intervals of its own, all of them have to leave out zero.
        """
        if ("after", metric) in self.against:
            return self.against["after", metric].proven
        return all(one.proven for one in self.comparisons[BEST])


def load(name: str) -> Any:
    """A result file as it is."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def benchmarks(name: str) -> dict[str, Benchmark]:
    """The recipes of a report of `llmrec bench`, or its groups where it has some, in the order of the matrix."""
    report = load(f"{name}.json")
    published = {one.get("label") or one["recipe"]: one.get("published") or {} for one in report["matrix"]["recipes"]}
    rows: dict[str, list[Any]] = {}
    for row in report["rows"]:
        if row["status"] == "ok":
            rows.setdefault(row["axes"].get("group", row["axes"]["recipe"]), []).append(row)
    apart: dict[str, dict[tuple[str, str], Difference]] = {}
    for one in report["comparisons"]:
        if one["against"] == "best_baseline" and "intervals" in one:
            own = apart.setdefault(one["first"]["recipe"], {})
            own[one["model"], one["metric"]] = _difference(one["intervals"])
    return {key: _benchmark(own, published.get(key, {}), apart.get(key, {})) for key, own in rows.items()}


def _benchmark(
    rows: list[Any], published: Mapping[str, Any], against: Mapping[tuple[str, str], Difference]
) -> Benchmark:
    best = [_best_baseline(row["accuracy"]) for row in rows]
    new = [row["accuracy"]["slices"].get("items_with_0_ratings", {"n": 0, "test": {}}) for row in rows]
    test = _by_model([row["accuracy"]["test"] for row in rows], best)
    return Benchmark(
        adapter_parameters=rows[0]["parameters"]["adapter"],
        collaborative_only=next((name for name in COLLABORATIVE_ONLY if name in test), None),
        valid=_by_model([row["accuracy"]["valid"] for row in rows], best),
        test=test,
        published=published,
        new_items=_by_model([one["test"] for one in new], best),
        new_items_count=new[0]["n"],
        against=against,
        comparisons=_comparisons(rows, best),
    )


def _by_model(runs: list[Mapping[str, Any]], best: list[str]) -> Figures:
    """Figures of all runs by model and metric, those of each run's best baseline under `BEST`."""
    named = [{**run, BEST: run[name]} if name in run else run for run, name in zip(runs, best, strict=True)]
    shared = [model for model in named[0] if all(model in run for run in named)]
    return {model: {metric: [run[model][metric] for run in named] for metric in named[0][model]} for model in shared}


def _comparisons(rows: list[Any], best: list[str]) -> dict[str, list[Difference]]:
    """`after` minus each other model, run by run."""
    found: dict[str, list[Difference]] = {}
    for row, name in zip(rows, best, strict=True):
        for pair, units in row["accuracy"]["comparisons"].items():
            other = pair.removeprefix("after_minus_")
            for model in (other, BEST) if other == name else (other,):
                found.setdefault(model, []).append(_difference(units))
    return found


def _best_baseline(accuracy: Mapping[str, Any]) -> str:
    """The baseline that is best on validation; models without texts are reported beside the baselines."""
    metric, valid = accuracy["metric"], accuracy["valid"]
    baselines = [str(name) for name in accuracy["baselines"] if name not in COLLABORATIVE_ONLY]
    best = min if accuracy["lower_is_better"] else max
    return best(baselines, key=lambda name: float(valid[name][metric]))


def _difference(intervals: Mapping[str, Any]) -> Difference:
    """The wider of a difference's intervals."""
    unit = wider(intervals)
    one = intervals[unit]
    proven = not no_difference(intervals)
    return Difference(one["difference"], one["low"], one["high"], unit.removeprefix("by_"), proven)


def tuned_minus_frozen() -> Difference:
    """movies-cold-items.json: the adapter against the frozen model over all splits."""
    [pooled] = [one for one in load("movies-cold-items.json")["comparisons"] if one["model"] == "after"]
    return _difference(pooled["intervals"])


def adapter_methods(name: str, backbone: str) -> list[Any]:
    """The measured cells of one backbone in a report, in the order of its matrix."""
    return [row for row in load(name)["rows"] if row["axes"]["backbone"] == backbone]


def minus(name: str, axis: str, backbone: str, metric: str) -> dict[str, Difference]:
    """What each value of an axis gains on test over the one that the matrix compares with, over all seeds."""
    return {
        one["first"][axis]: _difference(one["intervals"])
        for one in load(name)["comparisons"]
        if (one["model"], one["metric"]) == ("after", metric)
        and one["first"].get("backbone", backbone) == backbone
        and isinstance(one["against"], dict)
        and "intervals" in one
    }


def memory_cells() -> list[Any]:
    """footprint.json: measured and predicted memory of each cell."""
    cells: list[Any] = load("footprint.json")["cells"]
    return cells


def rows_of(name: str) -> list[Any]:
    """The rows of epoch_cost.json, kbit_memory.json or ranking_speed.json."""
    rows: list[Any] = load(name)["rows"]
    return rows
