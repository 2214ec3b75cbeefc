"""Check figures: what in a cell's row contradicts itself, or does not follow from the cell's predictions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.benchmark.cell import accuracy as accuracy_of
from llmrec_peft.benchmark.costs import at
from llmrec_peft.benchmark.grouping import COLLABORATIVE_ONLY
from llmrec_peft.benchmark.kept_predictions import primary, recomputed
from llmrec_peft.benchmark.rows import Row
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.measures import LOWER_IS_BETTER, better
from llmrec_peft.workflows.compare import Run, differing

_TOLERANCE = 1e-5
"""Relative difference of a figure that is computed again: predictions are stored in single precision."""
_AT_MOST = (
    ("parameters", ("adapter", "trainable", "total")),
    ("peak_memory_mb", ("cuda", "cuda_reserved")),
)
"""Values of a row none of which is larger than the next one that is there."""
_QUANTILES = ("p50", "p95", "p99")


def contradictions(row: Row) -> Iterator[str]:
    """Yield what in a measured row cannot be true at once."""
    accuracy = row["accuracy"]
    metric, best, valid = accuracy["metric"], accuracy["best_baseline"], accuracy["valid"]
    if accuracy["lower_is_better"] != (metric in LOWER_IS_BETTER):
        yield f"of {metric} {'higher' if accuracy['lower_is_better'] else 'lower'} values are better"
    if best is not None:
        own = valid[best][metric]
        others = {name: valid[name].get(metric) for name in accuracy["baselines"] if name in valid}
        for name, figure in others.items():
            if name not in COLLABORATIVE_ONLY and None not in (figure, own) and better(metric, figure, own):
                yield f"{best} is called the best baseline, but {name} is better on validation ({figure} against {own})"
    tested = at(row, "data", "test")
    if accuracy["slice"] is None and tested is not None and tested != accuracy["n"]:
        yield f"n is {accuracy['n']}, but the test part has {tested:.0f} examples"
    for block, names in _AT_MOST:
        yield from _in_order(row, (block,), names)
    for asked in row.get("latency_ms", {}):
        yield from _in_order(row, ("latency_ms", asked), _QUANTILES)
    if accuracy["slice"] is None:
        yield from _intervals(accuracy)


def follows(row: Row, folder: Path) -> tuple[list[str], list[str]]:
    """Compare a row with the predictions of its run.

    Args:
        row: A measured row.
        folder: What was kept of its run.

    Returns:
        What is wrong; and why figures were not computed again, if they were not.

    Raises:
        InputError: If the files are not those that the run wrote.
    """
    sealed = SealedFolder.open(folder)
    wrong = [*_of_metrics(row, sealed.report()), *_of_recipe(row, sealed.recipe())]
    run = Run.read(folder)
    accuracy, told = row["accuracy"], primary(run)
    wrong += [
        f"{name} is {accuracy[name]!r}, and {told[name]!r} beside the predictions"
        for name in ("metric", "best_baseline")
        if accuracy[name] != told[name]
    ]
    if accuracy["n"] != told["n"]:
        if accuracy["slice"] is None:
            return [*wrong, f"n is {accuracy['n']}, but there are {told['n']} predictions"], []
        return wrong, [f"its figures are those of some items alone ({accuracy['slice']}); these are not computed again"]
    for model, figures in recomputed(run).items():
        for metric, figure in figures.items():
            stated = accuracy["test"].get(model, {}).get(metric)
            if stated is None and math.isnan(figure):
                continue
            if stated is None or not math.isclose(stated, figure, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
                wrong.append(f"test {metric} of {model} is {stated}, but {figure:.6f} follows from its predictions")
    return wrong, []


def _of_metrics(row: Row, metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield which block of the row is not that of the run's report."""
    try:
        figures = accuracy_of(metrics, row["accuracy"]["slice"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"metrics.json is not what a run writes ({type(error).__name__}: {error})") from None
    for name, value in figures.items():
        if row["accuracy"].get(name) != value:
            yield f"accuracy.{name} is not what the run's metrics.json says"
    for name in ("parameters", "base"):
        if name in row and row[name] != metrics.get(name):
            yield f"{name} is not what the run's metrics.json says"


def _of_recipe(row: Row, recipe: Mapping[str, Any]) -> Iterator[str]:
    stated = row.get("recipe")
    if stated is None:
        return
    fields = differing(stated, recipe) + (["seed"] if stated.get("seed") != recipe.get("seed") else [])
    if fields:
        yield f"recipe: {', '.join(fields[:5])} differ from the run's recipe.yaml"


def _in_order(row: Row, path: tuple[str, ...], names: tuple[str, ...]) -> Iterator[str]:
    there = [(name, value) for name in names if (value := at(row, *path, name)) is not None]
    for (name, value), (above, most) in itertools.pairwise(there):
        if value > most:
            yield f"{'.'.join(path)}: {name} is {value:g}, more than {above}, {most:g}"


def _intervals(accuracy: Mapping[str, Any]) -> Iterator[str]:
    """Yield which of a run's own comparisons do not agree with its figures."""
    test, metric = accuracy["test"], accuracy["metric"]
    for pair, intervals in accuracy.get("comparisons", {}).items():
        first, _, second = pair.partition("_minus_")
        for unit, one in intervals.items():
            if one["excludes_zero"] != (one["low"] > 0.0 or one["high"] < 0.0):
                yield f"{pair} {unit}: excludes_zero is not what the interval says"
            sides = [test.get(name, {}).get(metric) for name in (first, second)]
            if None not in sides and not math.isclose(
                one["difference"], sides[0] - sides[1], rel_tol=_TOLERANCE, abs_tol=_TOLERANCE
            ):
                yield f"{pair} {unit}: the difference is {one['difference']}, that of the figures {sides[0] - sides[1]}"
