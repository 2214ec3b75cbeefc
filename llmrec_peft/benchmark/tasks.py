"""Tasks: groups of rows that answer the same question on the same data, with the references to read them by."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec_peft.benchmark.cells import titled
from llmrec_peft.benchmark.grouping import Group, collaborative_only
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.sections import BEST_BASELINE, PRIMARY, Published
from llmrec_peft.evaluation.measures import LOWER_IS_BETTER, best_of

FROZEN, FULL = "frozen", "full tuning"
"""Roles of groups that others are read by: nothing inside the language model is trained, or everything."""
_ROLES = {"none": FROZEN, "full": FULL}
_SIZES = ("name", "items", "valid", "test")
"""What of the data decides which figures can be set beside each other; recipes differ in what they learn from."""


@dataclass(frozen=True)
class Reference:
    """A model that stands beside a task's groups.

    Attributes:
        label: What it is.
        valid: Its validation figure in each run.
        test: Its test figure in each run; the published one of a model that did not run here.
        published: Whether others published it.
        model: Its name in rows, or `best_baseline`; empty for a published one.
    """

    label: str
    valid: tuple[float, ...]
    test: tuple[float, ...]
    published: bool = False
    model: str = ""


@dataclass(frozen=True)
class Task:
    """Groups that were measured on the same data.

    Attributes:
        title: Name for people.
        metric: The primary metric.
        groups: The groups.
        methods: Adapter method by its name in the matrix.
        published: What others published of this task.
    """

    title: str
    metric: str
    groups: tuple[Group, ...]
    methods: Mapping[str, str]
    published: tuple[Reference, ...] = ()

    @property
    def lower_is_better(self) -> bool:
        """Whether a lower figure is better."""
        return self.metric in LOWER_IS_BETTER

    def gain(self, difference: float) -> float:
        """Return a difference of the metric turned so that more is better."""
        return -difference if self.lower_is_better else difference

    def name(self, group: Group) -> str:
        """Return what tells a group from the others of this task."""
        own = {axis: value for axis, value in group.axes.items() if axis not in _of_task(group.axes)}
        return titled({axis: value for axis, value in own.items() if axis not in self._shared}) or "tuned"

    @property
    def _shared(self) -> set[str]:
        """Axes on which all of several groups have the same value."""
        first, *others = self.groups
        same = {axis for axis, value in first.axes.items() if all(one.axes.get(axis) == value for one in others)}
        return same if others else set()

    def role(self, group: Group) -> str | None:
        """Return `FROZEN` or `FULL` for a group that is a reference itself; None for others."""
        recipe = group.rows[0].get("recipe")
        adapter = recipe.get("adapter") if isinstance(recipe, Mapping) else None
        method = adapter.get("method") if isinstance(adapter, Mapping) else None
        return _ROLES.get(str(method or self.methods.get(str(group.axes.get("adapter")))))

    @property
    def collaborative_only(self) -> str | None:
        """The model that reads no text, by its name in the rows; None if not all groups have one."""
        return collaborative_only(self.groups, self.metric)

    def references(self) -> list[Reference]:
        """Return the best baseline, the model without texts, frozen text, and what others published."""
        asked = [(BEST_BASELINE, "best baseline"), ("before", "before: frozen text")]
        without = self.collaborative_only
        if without is not None:
            label = "collaborative only"
            named = without.replace("_", " ")
            asked.insert(1, (without, label if named == label else f"{label} ({named})"))
        return [*(one for model, label in asked for one in self._reference(model, label)), *self.published]

    def _reference(self, model: str, label: str) -> list[Reference]:
        """Return a model's figures; a line for each backbone, or each group, where these have figures of their own."""
        for axes in ((), ("backbone",), None):
            parts: dict[str, list[Group]] = {}
            for group in self.groups:
                key = self.name(group) if axes is None else titled({a: group.axes[a] for a in axes if a in group.axes})
                parts.setdefault(key, []).append(group)
            found = {key: _figures_of(groups, model, self.metric) for key, groups in parts.items()}
            if all(one is not None for one in found.values()):
                break
        named = [(key, one) for key, one in found.items() if one is not None and one[1]]
        best = _best_names(self.groups) if model == BEST_BASELINE else ""
        return [Reference(f"{label}{best}{f', {key}' if key else ''}", *one, model=model) for key, one in named]


def tasks_of(groups: Sequence[Group], matrix: Matrix) -> list[Task]:
    """Put groups together that share recipe, data settings and the part of the test data that is reported.

    Args:
        groups: Groups in the order of the report.
        matrix: Matrix that was measured.
    """
    methods = {one.label: one.method for one in matrix.adapters or ()}
    published = {choice.label or Path(choice.recipe).stem: choice.published for choice in matrix.recipes}
    parts: dict[str, list[Group]] = {}
    for group in groups:
        parts.setdefault(_question(group), []).append(group)
    titles = Counter(titled(_of_task(own[0].axes)) for own in parts.values())
    return [
        Task(
            _title(own, titles),
            own[0].accuracy["metric"],
            tuple(own),
            methods,
            tuple(_published(published.get(str(own[0].axes["recipe"]), {}), own[0].accuracy["metric"])),
        )
        for own in parts.values()
    ]


def best_on_validation(groups: Sequence[Group], metric: str) -> Group | None:
    """Return the group whose tuned model has the best mean on validation; None if none is known there."""
    means = {
        at: statistics.mean(values)
        for at, group in enumerate(groups)
        if (values := group.values("valid", "after", metric))
    }
    return groups[best_of(means, metric)] if means else None


def _published(models: Mapping[str, Published], metric: str) -> Iterator[Reference]:
    """Yield what was published of a metric; figures without a metric are those of the primary one, which this is."""
    for name, one in models.items():
        figure = one.figures.get(metric, one.figures.get(PRIMARY))
        if figure is not None:
            yield Reference(f"published: {name}" + (f" ({one.source})" if one.source else ""), (), (figure,), True)


def _question(group: Group) -> str:
    """Return what only groups share whose figures can be set beside each other."""
    sizes = [[str((row.get("data") or {}).get(part)) for part in _SIZES] for row in group.rows]
    tested = sorted({f"{row['accuracy']['n']} of {' '.join(own)}" for row, own in zip(group.rows, sizes, strict=True)})
    asked = [titled(_of_task(group.axes)), str(group.accuracy["slice"]), group.accuracy["metric"]]
    return " | ".join([*asked, *tested])


def _title(own: Sequence[Group], titles: Mapping[str, int]) -> str:
    """Return a task's name: the axes that decide on its data; with another task of that name, all that it shares."""
    first = own[0].axes
    title = titled(_of_task(first))
    if titles[title] == 1:
        return title
    return titled({axis: value for axis, value in first.items() if all(one.axes.get(axis) == value for one in own)})


def _of_task(axes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the axes that decide on what is learned and tested."""
    return {axis: value for axis, value in axes.items() if axis == "recipe" or axis.startswith("data.")}


def _figures_of(groups: Sequence[Group], model: str, metric: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return a model's figures on validation and test, one a seed; None if the groups do not agree on them."""
    parts = []
    for part in ("valid", "test"):
        known: dict[str, float] = {}
        for group in groups:
            for run, figure in group.by_run(part, model, metric).items():
                if known.setdefault(run, figure) != figure:
                    return None
        parts.append(tuple(known.values()))
    return parts[0], parts[1]


def _best_names(groups: Sequence[Group]) -> str:
    names = dict.fromkeys(name.replace("_", " ") for group in groups for name in group.best_baselines)
    return f" ({', '.join(names)})" if names else ""
