"""The table of all recipes: what each is for, and what it reached on real data."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import committed_results as results
from committed_results import BEST
from figure_text import METRICS
from markdown_table import table_header, table_row

from llmrec_peft import registry
from llmrec_peft.recipe.described import described
from llmrec_peft.recipe.measurements import Measurement, Result, measurements_of

ROOT = Path(__file__).parents[1]
NOT_RUN = "Not run here"
COMMITTED: Mapping[str, tuple[str, str, str, str]] = {
    "movies": ("ml-100k", "movies-u1", "movies-u1", "rmse"),
    "tallrec-movie": ("tallrec-movie, 256 records", "clicks-and-rankings", "tallrec-256", "auc"),
    "collm-ml-1m": ("collm-ml-1m", "clicks-and-rankings", "collm-train+valid", "auc"),
    "amazon-scientific": ("iisan-scientific", "clicks-and-rankings", "scientific", "ndcg@10"),
}
"""Recipes whose figures stand in a report of `llmrec bench`: data, report, row, metric; ``figures.json`` goes first."""
FACTORS = "biased_mf"
"""The model of ratings without texts; here it is a baseline, too."""


def recipes() -> list[str]:
    """Every recipe that comes with the package: a row for each data set that it was measured on, then the others."""
    columns = ("recipe", "head", "signals", "language model", "split", "metric", "best baseline", "this recipe")
    lines, others = table_header(*columns, "minus best baseline", "adapter", "better?"), []
    for name, plugin in registry.plugins("recipes").items():
        if not plugin.package.startswith("llmrec-peft "):
            continue
        told = figures_of(name)
        lines += [_row(name, described(name), *one) for one in told]
        if not told:
            others.append(f"[{name}]({_page(name)})")
    return [*lines, "", f"{NOT_RUN}: {', '.join(others)}."] if others else lines


def measured_recipes() -> Iterator[tuple[str, Measurement]]:
    """Yield each measurement of ``figures.json`` that was run, with the name of its recipe."""
    for name, plugin in registry.plugins("recipes").items():
        if plugin.package.startswith("llmrec-peft "):
            yield from ((name, one) for one in measurements_of(name) if one.result is not None)


def _row(name: str, about: Mapping[str, Any], data: str, split: str, cells: Sequence[str]) -> str:
    """One line; `split` is empty where it is that of the recipe."""
    model = "none" if about["base"] is None else str(about["base"]).rpartition("/")[2]
    if about["quantization"] not in (None, "none"):
        model += f", {about['quantization']}"
    called = f"[{name}]({_page(name)})" + (f", {data}" if data else "")
    return table_row(
        called, ", ".join(about["heads"]), ", ".join(about["signals"]), model, split or about["split"], *cells
    )


def _page(name: str) -> str:
    """Path of the page about a recipe: its folder's README, or the recipe itself."""
    file: Path = registry.get("recipes", name)
    page = file.with_name("README.md")
    return (page if page.is_file() else file).resolve().relative_to(_package_root()).as_posix()


def _package_root() -> Path:
    """The repository that the installed recipes lie in; this script's may be a copy."""
    import llmrec_recipes

    return Path(llmrec_recipes.__file__).resolve().parents[2]


def figures_of(name: str) -> list[tuple[str, str, list[str]]]:
    """Data, split, and the cells from the metric on, of each measurement of a recipe; none if it was not run."""
    told = [one for one in measurements_of(name) if one.result is not None]
    if told:
        return [(data_name(one), one.result.split, _cells(one.result)) for one in told if one.result is not None]
    if name in COMMITTED:
        return [_committed(*COMMITTED[name])]
    return []


def data_name(one: Measurement) -> str:
    """The data that a recipe was measured on, with the settings that it was given."""
    settings = "".join(f", {field}={value}" for field, value in one.set.items())
    return f"`{one.data}`{settings}"


def _cells(result: Result) -> list[str]:
    """Figures over seeds of a measurement from ``figures.json``."""
    apart = result.served_minus_best_baseline
    best = f"{result.test.best_baseline.mean:.4f} ({result.test.best_baseline.name.replace('_', ' ')})"
    better = "**LOSES**" if result.loses else "yes" if apart is not None and apart.significant else "not significantly"
    seeds = "" if len(result.seeds) > 1 else ", one seed"
    difference = (
        "–" if apart is None else f"{apart.difference:+.4f} [{apart.low:+.4f}, {apart.high:+.4f}] by {apart.unit}"
    )
    figures = [best, f"{_spread(result.test.served.figures)}{seeds}", difference]
    return [_metric(result.metric), *figures, f"{result.adapter_parameters:,}", better]


def _committed(data: str, report: str, row: str, metric: str) -> tuple[str, str, list[str]]:
    """Figures over seeds of a row of a report of `llmrec bench`."""
    found = results.benchmarks(report)[row]
    best, apart = BEST, found.minus_best_baseline(metric)
    significant, better = found.significantly(metric), found.beats_best_baseline(metric)
    if FACTORS in found.test and found.mean(FACTORS, metric) < found.mean(BEST, metric):
        best, every = FACTORS, found.comparisons[FACTORS]
        apart = min(every, key=lambda one: min(abs(one.low), abs(one.high)))
        significant = all(one.proven for one in every)
        better = found.mean("after", metric) < found.mean(FACTORS, metric)
    said = "**LOSES**" if not better else "yes" if significant else "not significantly"
    named = f" ({FACTORS.replace('_', ' ')})" if best == FACTORS else ""
    difference = f"{apart.value:+.4f} [{apart.low:+.4f}, {apart.high:+.4f}] by {apart.unit}"
    figures = [f"{found.mean(best, metric):.4f}{named}", _spread(found.test["after"][metric])]
    return f"`{data}`", "", [_metric(metric), *figures, difference, f"{found.adapter_parameters:,}", said]


def _metric(name: str) -> str:
    return METRICS.get(name, f"{name} ↑")


def _spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{statistics.mean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")
