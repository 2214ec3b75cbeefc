"""From finished runs of one recipe to its measurement in ``figures.json``."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.intervals import wider
from llmrec_peft.recipe import Recipe, load_recipe, recipe_path
from llmrec_peft.recipe.measurements import (
    FILE,
    LOWER_IS_BETTER,
    MeasuredDifference,
    Measurement,
    Measurements,
    ModelFigures,
    Models,
    Result,
    loses,
    read_measurements,
)
from llmrec_peft.strict_json import read_object
from llmrec_peft.workflows.compare import BASELINE, Run, compare

WITHOUT_TEXT = ("collaborative_only", "biased_mf")
"""Models that read no text, by what ``metrics.json`` calls them."""
BY_FOLDS = "_by_folds"
"""How a baseline's name ends whose settings the folds chose: it is what is served, or part of it."""
NOT_SETTINGS = (
    *("seed", "served", "data.path", "data.graph", "data.items_are_users", "evaluation.bootstrap"),
    "evaluation.ablations",
)
"""Fields of a run's recipe that are no part of what is measured."""


def measurement_of(folders: Sequence[Path]) -> Measurement:
    """Return the measurement that finished runs make: all seeds of one recipe on one data set.

    Args:
        folders: Run folders.

    Raises:
        InputError: If one is no run, or they differ in more than their seeds.
    """
    runs = [Run.read(folder) for folder in folders]
    asked = [_asked(run) for run in runs]
    for folder, one in zip(folders, asked, strict=True):
        if one != asked[0]:
            raise InputError(f"{folder}: another recipe, other data or settings than {folders[0]}")
    reports = [read_object(folder / "metrics.json", 2**26) for folder in folders]
    return asked[0].model_copy(update={"result": _result(runs, reports)})


def write_measurement(one: Measurement) -> Path:
    """Write a measurement into the file beside its recipe, over an earlier one, and return the file's path."""
    file = recipe_path(one.recipe).with_name(FILE)
    key = (one.recipe, one.data, one.graph, one.set)
    known = [one if (old.recipe, old.data, old.graph, old.set) == key else old for old in read_measurements(file)]
    whole = Measurements(measurements=(*known, *([] if one in known else [one])))
    with whole_file(file) as partial:
        plain = whole.model_dump(mode="json", exclude_defaults=True)
        partial.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


def _asked(run: Run) -> Measurement:
    """Return what a run was asked for: its recipe, the data, and what differs from the recipe as it is shipped."""
    recipe = Recipe.from_plain(dict(run.recipe))
    shipped = load_recipe(recipe.name)
    if recipe.data.path is None or recipe.data.path == "demo":
        raise InputError(f"{run.folder}: was trained on made-up data")
    changes = dict(_changes(shipped.plain(), recipe.plain()))
    if recipe.data.graph is None:  # without a graph these are switched off
        off = {f"signals.{name}" for name in shipped.reads.graph_signals}
        changes = {field: value for field, value in changes.items() if field not in off}
    graph = None if recipe.data.graph is None else Path(recipe.data.graph).name
    return Measurement(recipe=recipe.name, data=Path(recipe.data.path).name, graph=graph, set=changes)


def _changes(shipped: Any, own: Any, field: str = "") -> list[tuple[str, Any]]:
    """Return dotted fields, with their values, in which a recipe differs from the shipped one."""
    if field in NOT_SETTINGS or shipped == own:
        return []
    if isinstance(own, Mapping) and own and isinstance(shipped, Mapping | None):
        shipped = shipped or {}
        names = [*shipped, *(name for name in own if name not in shipped)]
        return [
            found
            for name in names
            for found in _changes(shipped.get(name), own.get(name), f"{field}.{name}".removeprefix("."))
        ]
    return [(field, own)]


def _result(runs: Sequence[Run], reports: Sequence[Mapping[str, Any]]) -> Result:
    """Collect figures and paired differences."""
    metric = str(reports[0]["primary_metric"])
    best = [best_baseline(report) for report in reports]
    alone = next((name for name in WITHOUT_TEXT if all(name in _named(report) for report in reports)), None)
    frozen = "before" if all("before" in report["test"] for report in reports) else None
    served = ["recommended" if "recommended" in report["test"] else "after" for report in reports]

    def models(names: Sequence[str]) -> ModelFigures:
        told = [rounded(_named(report)[name][metric]) for report, name in zip(reports, names, strict=True)]
        return ModelFigures(name=" or ".join(dict.fromkeys(names)), figures=tuple(told))

    test = Models(
        best_baseline=models(best),
        collaborative_only=None if alone is None else models([alone] * len(reports)),
        frozen=None if frozen is None else models([frozen] * len(reports)),
        tuned=models(["after"] * len(reports)),
        served=models(served),
    )
    return Result(
        seeds=tuple(int(report["seed"]) for report in reports),
        split=str(reports[0]["protocol"]["split"]),
        metric=metric,
        adapter_parameters=int(reports[0]["parameters"].get("adapter", 0)),
        test=test,
        served_minus_best_baseline=_difference(runs, served, best),
        tuned_minus_frozen=None if frozen is None else _difference(runs, ["after"] * len(runs), [frozen] * len(runs)),
        loses=loses(metric, test),
        date=max(_ended(run.folder) for run in runs),
        hardware=_hardware(reports[0]["hardware"]),
    )


def rounded(figure: float) -> float:
    """Return a figure as it is committed: the digits behind are no more than noise of the order of sums."""
    return round(float(figure), 6)


def best_baseline(report: Mapping[str, Any]) -> str:
    """Return the simple method that is best on validation: no model of the recipe's own, and not what is served."""
    metric, valid = report["primary_metric"], report["valid"]["baselines"]
    names = [name for name in valid if name != "collaborative_only" and not name.endswith(BY_FOLDS)]
    if not names:
        raise InputError(f"{report['recipe']}: a run without baselines")
    return str((min if metric in LOWER_IS_BETTER else max)(names, key=lambda name: float(valid[name][metric])))


def _named(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the test figures of a run's models and baselines by name."""
    test = report["test"]
    own = {name: test[name] for name in ("before", "after", "recommended") if name in test}
    return {**own, **test["baselines"], **test.get("ablations", {})}


def _difference(runs: Sequence[Run], first: Sequence[str], second: Sequence[str]) -> MeasuredDifference:
    """Compare two models of all runs together; where that cannot be, of each, and take what is nearest to zero."""
    if len(set(first)) == 1 and len(set(second)) == 1:
        try:
            return _compared(runs, first[0], second[0], "pooled")
        except InputError:
            pass  # the runs have test parts of their own
    each = [
        _compared([run], one, other, "nearest to zero") for run, one, other in zip(runs, first, second, strict=True)
    ]
    return min(each, key=lambda one: min(abs(one.low), abs(one.high)) if one.significant else 0.0)


def _compared(runs: Sequence[Run], first: str, second: str, seeds: Any) -> MeasuredDifference:
    intervals = compare([run.folder for run in runs], [BASELINE + second], model=first)["intervals"]
    unit = wider(intervals)
    one = intervals[unit]
    return MeasuredDifference(
        difference=rounded(one["difference"]),
        low=rounded(one["low"]),
        high=rounded(one["high"]),
        unit=unit.removeprefix("by_"),
        seeds=seeds,
    )


def _ended(folder: Path) -> datetime.date:
    return datetime.date.fromtimestamp((folder / "metrics.json").stat().st_mtime)


def _hardware(told: Mapping[str, Any]) -> str:
    return f"{told['processor']}, {told['cores']} cores" + (f", {told['cuda']}" if told.get("cuda") else "")
