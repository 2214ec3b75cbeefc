"""Compare: is one recipe better than another, over the users, items and seeds of groups of runs?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmrec_peft.artifact.predictions import NAME, HeadPredictions, Predictions, numbered, read_predictions
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.evaluation.impression_metrics import IMPRESSION_METRICS
from llmrec_peft.evaluation.intervals import GroupInterval, group_interval
from llmrec_peft.evaluation.measures import LOWER_IS_BETTER, Measure, measure_of
from llmrec_peft.evaluation.outcomes import Outcome, Ranks
from llmrec_peft.evaluation.weighted import Figure

BASELINE = "baseline:"
"""What stands before the name of a run's own model that a group is compared against."""
BEST = ("best", "line")
"""Names of the trivial baseline that was best on validation; the second is what versions up to 0.1 called it."""
METRICS = {
    "rating": ("rmse", "mae"),
    "click": ("auc", "log_loss", "uauc", *IMPRESSION_METRICS),
    "ranking": ("ndcg@10", "hr@10", "mrr", "recall@10"),
}
"""Metrics of each task that examples can be resampled under."""
OF_RANKINGS = ("candidates", "own_items")
"""What of a protocol concerns rankings alone."""
UNITS = {"by_user": "by user", "by_person": "by person", "by_item": "by item"}


@dataclass(frozen=True)
class Run:
    """A run folder as far as comparing reads it.

    Attributes:
        folder: The folder.
        digest: Its version.
        recipe: Its recipe as plain values.
        protocol: What decides how its figures are to be read.
        predictions: What its models said of the test part.
    """

    folder: Path
    digest: str
    recipe: Mapping[str, Any]
    protocol: Mapping[str, Any]
    predictions: Predictions

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read a run folder.

        Raises:
            InputError: When it is none, or does not hold what comparing needs.
        """
        sealed = SealedFolder.open(folder)
        predictions = read_predictions(folder / NAME, sealed.private(NAME))
        protocol, recipe = sealed.report().get("protocol", {}), sealed.recipe()
        if not isinstance(protocol, dict):
            raise InputError(f"{folder}: metrics.json is not what a run writes")
        return cls(folder, sealed.manifest.digest, recipe, protocol, predictions)

    def measured(self, task: str) -> dict[str, Any]:
        """What decides how the figures of a task are to be read; the primary head's task may be another."""
        told = {key: value for key, value in self.protocol.items() if key not in OF_RANKINGS}
        if task == "ranking":
            told["own_items"] = self.recipe.get("evaluation", {}).get("own_items", True)
        return told

    def head(self, name: str | None) -> HeadPredictions:
        """What was said under a head; the primary one by default."""
        heads = self.predictions.heads
        if name is None:
            return next(iter(heads.values()))
        if name not in heads:
            raise InputError(f"{self.folder} has no head {name!r}: {nearest(name, heads)}")
        return heads[name]


@dataclass(frozen=True)
class Side:
    """One group of models.

    Attributes:
        name: What it is called.
        runs: Folders of the runs.
        model: Which of each run's models.
        figures: Each one's metric as a function of the examples' weights.
        values: Each one's metric.
    """

    name: str
    runs: tuple[str, ...]
    model: str
    figures: tuple[Figure, ...]
    values: tuple[float, ...]

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None of one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "name": self.name,
            "runs": list(self.runs),
            "model": self.model,
            "figures": list(self.values),
            "mean": float(np.mean(self.values)),
            "spread": self.spread,
        }


def compare(
    first: Sequence[Path],
    against: Sequence[str],
    metric: str | None = None,
    model: str = "after",
    head: str | None = None,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Compare two groups of runs, or a group with one of its own baselines, on the same test examples.

    Args:
        first: Runs of one recipe with several seeds.
        against: Runs of another one, or ``baseline:NAME`` alone: ``best``, ``before``, or any model of the runs.
        metric: Metric; by default the primary one of the first run's head.
        model: Which model of each run speaks for it, such as ``after`` or ``blend``.
        head: Head under which it speaks; the primary one by default.
        resamples: Resamples of the intervals.

    Returns:
        Both groups with figures, mean and spread, the difference with its intervals by user and by item, and what
        they say: ``first is better``, ``second is better`` or ``no difference``.

    Raises:
        InputError: When a folder is no run, the test parts or protocols differ, or a metric or model is missing.
    """
    if not first or not against:
        raise InputError("compare: give runs on both sides of --against")
    own = _baseline(against)
    ours = [Run.read(folder) for folder in first]
    theirs = ours if own is not None else [Run.read(Path(folder)) for folder in against]
    _require_alike(ours if own is not None else [*ours, *theirs], head)
    task = ours[0].head(head).task
    metric = ours[0].head(head).metric if metric is None else metric
    if metric not in METRICS[task]:
        raise InputError(f"metric {metric!r}: of {task} heads these can be compared: {', '.join(METRICS[task])}")
    examples = examples_of(ours[0].predictions, ours[0].head(head))
    require_lists(metric, examples)
    measure = measure_of(task, lambda label: label, np.zeros(1, np.int64))
    sides = (
        _side("first", ours, lambda run: model, measure, metric, head, examples),
        _side("second", theirs, lambda run: _named(run, own, model, head), measure, metric, head, examples),
    )
    try:
        intervals = {
            unit: group_interval(sides[0].figures, sides[1].figures, cluster, resamples, paired=own is not None)
            for unit, cluster in measure.clusters(metric, examples).items()
        }
    except ValueError as error:
        raise InputError(f"metric {metric}: {error}") from None
    return _report(metric, sides, intervals, len(examples), _notes(ours, theirs if own is None else []))


def require_lists(metric: str, examples: Interactions) -> None:
    """Refuse a metric by impression for examples that no impressions are known of.

    Raises:
        InputError: Naming the metric.
    """
    if metric in IMPRESSION_METRICS and examples.impression is None:
        raise InputError(f"metric {metric}: the runs' data do not say which items were shown together")


def _baseline(against: Sequence[str]) -> str | None:
    """The model named by ``baseline:NAME``; None where runs are given."""
    named = [given for given in against if given.startswith(BASELINE)]
    if not named:
        return None
    if len(against) > 1:
        raise InputError(f"--against: {named[0]} stands for one group by itself; leave the others out")
    return named[0].removeprefix(BASELINE)


def _named(run: Run, own: str | None, model: str, head: str | None) -> str:
    """Which model of a run speaks for the second group."""
    if own is None:
        return model
    said = run.head(head)
    if own in BEST:
        if said.best_baseline is None:
            raise InputError(f"{run.folder} has no trivial baseline")
        return said.best_baseline
    return own


def _side(
    name: str,
    runs: Sequence[Run],
    model_of: Callable[[Run], str],
    measure: Measure,
    metric: str,
    head: str | None,
    examples: Interactions,
) -> Side:
    figures, values, models = [], [], []
    for run in runs:
        said, model = run.head(head), model_of(run)
        if model not in said.models:
            raise InputError(f"{run.folder} has no model {model!r}: {nearest(model, said.models)}")
        figure = measure.weighted(metric, outcome_of(said, model), examples)
        figures.append(figure)
        values.append(figure(np.ones(len(examples))))
        models.append(model)
    spoken = " or ".join(dict.fromkeys(models))
    return Side(name, tuple(str(run.folder) for run in runs), spoken, tuple(figures), tuple(values))


def outcome_of(said: HeadPredictions, model: str) -> Outcome:
    """Return a model's predictions as metrics want them: scores of pairs, or ranks in the catalogue."""
    values = said.models[model]
    if said.task != "ranking":
        return values
    return Ranks(values.astype(np.float64), np.zeros((len(values), 0), np.int64))


def examples_of(predictions: Predictions, said: HeadPredictions) -> Interactions:
    """Return the test examples, numbered, with labels as the head's metrics want them."""
    user, item = numbered(predictions.user), numbered(predictions.item)
    time = np.zeros(len(predictions), np.int64)
    label = said.observed.astype(np.float32)
    return Interactions(user, item, label, time, person=predictions.person, impression=predictions.impression)


def _require_alike(runs: Sequence[Run], head: str | None) -> None:
    """Refuse runs whose figures cannot be paired.

    Raises:
        InputError: Naming the first run that is not like the first of all.
    """
    known: dict[str, Path] = {}
    start = runs[0]
    for run in runs:
        if run.digest in known:
            raise InputError(f"{known[run.digest]} and {run.folder} are the same run")
        known[run.digest] = run.folder
        ours, theirs = start.head(head), run.head(head)
        if run.predictions.digest != start.predictions.digest:
            raise InputError(
                f"{run.folder} was tested on other examples ({len(run.predictions)}) than {start.folder}"
                f" ({len(start.predictions)}): only runs with the same test part are compared"
            )
        if not np.array_equal(run.predictions.by_person(), start.predictions.by_person()):
            raise InputError(f"{run.folder} says of other examples than {start.folder} that they are one person's")
        if ours.task != theirs.task or not np.array_equal(ours.observed, theirs.observed):
            told = f"{theirs.task} against {ours.task}" if ours.task != theirs.task else "labels count from elsewhere"
            raise InputError(f"{run.folder} answers another question than {start.folder}: {told}")
        found, expected = run.measured(theirs.task), start.measured(ours.task)
        for key in expected:
            if found.get(key) != expected[key]:
                raise InputError(
                    f"{run.folder} was measured otherwise than {start.folder}: {key} is {found.get(key)},"
                    f" not {expected[key]}"
                )


def _notes(*groups: Sequence[Run]) -> list[str]:
    """What a reader of the figures should know of the groups."""
    notes = []
    for name, runs in zip(("first", "second"), groups, strict=False):
        fields = sorted({field for run in runs for field in differing(runs[0].recipe, run.recipe)})
        if fields:
            notes.append(f"the {name} group's recipes differ in more than their seeds: {', '.join(fields)}")
        seeds = [run.recipe.get("seed") for run in runs]
        if len(set(seeds)) < len(seeds):
            notes.append(f"the {name} group has a seed twice")
    return notes


def differing(one: Any, other: Any, path: str = "") -> list[str]:
    """Return the dotted fields in which two recipes differ, but for the seed and where the data lies."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = [*one, *(key for key in other if key not in one)]
        return [found for key in keys for found in differing(one.get(key), other.get(key), f"{path}.{key}".strip("."))]
    return [] if one == other or path in ("seed", "data.path", "data.graph") else [path]


def _report(
    metric: str,
    sides: tuple[Side, Side],
    intervals: Mapping[str, GroupInterval],
    examples: int,
    notes: list[str],
) -> dict[str, Any]:
    lower = metric in LOWER_IS_BETTER
    difference = next(iter(intervals.values())).difference
    holding = [UNITS[unit] for unit, interval in intervals.items() if not interval.excludes_zero]
    if holding:
        verdict = "no difference"
        conclusion = (
            f"no significant difference in {metric} (paired bootstrap, 95 %):"
            f" the interval {' and '.join(holding)} contains zero"
        )
    else:
        verdict = "first is better" if (difference < 0.0) == lower else "second is better"
        direction = "lower" if difference < 0.0 else "higher"
        conclusion = (
            f"{verdict.replace('is better', 'is significantly better')} (paired bootstrap, 95 %):"
            f" the first's {metric} is {direction} by {abs(difference):.4f}"
        )
    if all(len(side.values) == 1 for side in sides):
        notes = [*notes, "one run a side: how far another seed would be from it is not known"]
    elif any(len(side.values) == 1 for side in sides):
        notes = [*notes, "one side has one run: how far another seed would be from it is not known"]
    return {
        "metric": metric,
        "lower_is_better": lower,
        "examples": examples,
        "first": sides[0].plain(),
        "second": sides[1].plain(),
        "difference": difference,
        "intervals": {unit: interval.plain() for unit, interval in intervals.items()},
        "verdict": verdict,
        "conclusion": conclusion,
        "notes": notes,
    }
