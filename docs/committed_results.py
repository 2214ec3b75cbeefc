"""Read the committed result files of benchmarks/results into plain rows: one function a file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
LOWER_IS_BETTER = ("rmse", "mae", "log_loss")


@dataclass(frozen=True)
class Difference:
    """A paired difference between two models, with its 95 % interval and what `llmrec compare` says of it."""

    value: float
    low: float
    high: float
    verdict: str = ""


@dataclass(frozen=True)
class Benchmark:
    """What the models of one recipe reached on one data set, over seeds or splits.

    Attributes:
        adapter_parameters: Parameters trained inside the language model.
        best_baseline: The model that was best on validation among the baselines.
        collaborative_only: The model without texts, by its name in `valid` and `test`, if there is one.
        valid: Validation figures of each seed by model and metric.
        test: The same on the test part.
        published: What the literature reports, with its model.
        new_items: Test figures on items without training interactions.
        new_items_count: How many test examples those are.
        against: Differences to the best baseline by model and metric.
        comparisons: Differences `after` minus another model, one a seed.
    """

    adapter_parameters: int
    best_baseline: str
    collaborative_only: str | None
    valid: Mapping[str, Mapping[str, Sequence[float]]]
    test: Mapping[str, Mapping[str, Sequence[float]]]
    published: str | None = None
    new_items: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    new_items_count: int = 0
    against: Mapping[tuple[str, str], Difference] = field(default_factory=dict)
    comparisons: Mapping[str, Sequence[Mapping[str, Difference]]] = field(default_factory=dict)

    def mean(self, model: str, metric: str) -> float:
        """The mean test figure over seeds."""
        return statistics.mean(self.test[model][metric])

    def beats_best_baseline(self, metric: str, model: str = "after") -> bool:
        """Whether the mean test figure is better than that of the best baseline."""
        own, baseline = self.mean(model, metric), self.mean(self.best_baseline, metric)
        return own < baseline if metric in LOWER_IS_BETTER else own > baseline

    def significantly(self, metric: str) -> bool:
        """Whether `after` differs from the best baseline by the paired bootstrap (95 %), by users and by items.

        Where each seed has intervals of its own, all of them have to leave out zero.
        """
        if ("after", metric) in self.against:
            return self.against["after", metric].verdict == "first is better"
        rows = self.comparisons[self.best_baseline]
        return all(one.low > 0.0 or one.high < 0.0 for row in rows for one in row.values())


def load(name: str) -> Any:
    """A result file as it is."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def clicks_and_rankings() -> dict[str, Benchmark]:
    """heads.json: the click and ranking recipes on published benchmarks."""
    return {name: _of_heads(cell) for name, cell in load("heads.json").items()}


def _of_heads(cell: Any) -> Benchmark:
    def part(name: str) -> dict[str, dict[str, list[float]]]:
        rows = {model: figures[name] for model, figures in cell["figures"].items() if name in figures}
        return {model: {metric: row["seeds"] for metric, row in metrics.items()} for model, metrics in rows.items()}

    slices = [one["items_with_0_ratings"] for one in cell["slices"] if "items_with_0_ratings" in one]
    new: dict[str, dict[str, list[float]]] = {}
    for model in ("text_cosine", "collaborative_only", "after", "blend"):
        rows = [found for one in slices if (found := one.get(model) or one["baselines"].get(model))]
        new[model] = {metric: [row[metric] for row in rows] for metric in (rows[0] if rows else ())}
    against = {}
    for name, row in cell["against_line"].items():
        model, metric = name.split(" ")
        if "intervals" in row and (bounds := row["intervals"].get("by_user")):
            against[model, metric] = Difference(bounds["difference"], bounds["low"], bounds["high"], row["verdict"])
    return Benchmark(
        adapter_parameters=cell["parameters"]["adapter"],
        best_baseline="line",
        collaborative_only="collaborative_only" if "collaborative_only" in cell["figures"] else None,
        valid=part("valid"),
        test=part("test"),
        published=cell["published"],
        new_items=new,
        new_items_count=slices[0]["n"] if slices else 0,
        against=against,
    )


def movies(name: str) -> dict[str, Benchmark]:
    """movies-u1.json, movies-cold-items.json: ratings of films, by variant of the recipe."""
    cells = load(f"{name}.json")["cells"]
    variants = dict.fromkeys(cell["variant"] for cell in cells)
    return {variant: _of_movies([cell for cell in cells if cell["variant"] == variant]) for variant in variants}


def _of_movies(cells: list[Any]) -> Benchmark:
    def part(name: str) -> dict[str, dict[str, list[float]]]:
        return {_bare(model): {"rmse": [cell[name][model] for cell in cells]} for model in cells[0][name]}

    valid = part("valid")
    baselines = ("global_mean", "user_mean", "item_mean", "bias")
    comparisons: dict[str, list[dict[str, Difference]]] = {}
    for cell in cells:
        for pair, row in cell["comparisons"].items():
            units = {unit: Difference(one["difference"], one["low"], one["high"]) for unit, one in row.items()}
            comparisons.setdefault(pair.removeprefix("after_minus_"), []).append(units)
    return Benchmark(
        adapter_parameters=cells[0]["parameters"]["adapter"],
        best_baseline=min(baselines, key=lambda model: statistics.mean(valid[model]["rmse"])),
        collaborative_only="biased_mf",
        valid=valid,
        test=part("test"),
        comparisons=comparisons,
    )


def _bare(model: str) -> str:
    return model.removeprefix("baseline ").removeprefix("ablation ")


def tuned_minus_frozen() -> dict[str, Difference]:
    """movies-cold-items.json: the adapter against the frozen model over all splits, by what is resampled."""
    pooled = load("movies-cold-items.json")["pooled"]
    return {
        unit: Difference(row["difference"], row["low"], row["high"])
        for unit in ("item", "user")
        for row in [pooled[f"tuned minus none, by {unit}"]]
    }


def adapter_methods(backbone: str) -> list[Any]:
    """methods.json: the measured cells of one backbone, in the order of the matrix."""
    return [row for row in load("methods.json")["rows"] if row["axes"]["backbone"] == backbone]


def memory_cells() -> list[Any]:
    """footprint.json: measured and predicted memory of each cell."""
    cells: list[Any] = load("footprint.json")["cells"]
    return cells


def rows_of(name: str) -> list[Any]:
    """The rows of epoch_cost.json, kbit_memory.json or ranking_speed.json."""
    rows: list[Any] = load(name)["rows"]
    return rows
