"""Grouping: rows of a benchmark that differ only in seeds, and the figures of their models over those seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrec_peft.benchmark.cells import row_of, titled
from llmrec_peft.benchmark.matrix import is_repeat
from llmrec_peft.benchmark.rows import Row
from llmrec_peft.benchmark.sections import BEST_BASELINE
from llmrec_peft.evaluation.measures import LOWER_IS_BETTER, better

COLLABORATIVE_ONLY = ("collaborative_only", "biased_mf", "without_text")
"""Models that read no text, by their names in rows: of clicks and rankings, of ratings, and the ablation."""


@dataclass(frozen=True)
class Group:
    """Measured rows that differ only in seeds.

    Attributes:
        axes: The axes that they share.
        rows: The rows, all with status `ok`.
    """

    axes: Mapping[str, Any]
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """Name for people."""
        return titled(self.axes)

    @property
    def accuracy(self) -> dict[str, Any]:
        """Accuracy block of the first row, for values that all rows share."""
        accuracy: dict[str, Any] = self.rows[0]["accuracy"]
        return accuracy

    @property
    def best_baselines(self) -> tuple[str, ...]:
        """Names of the baselines that are best on validation, each once."""
        names = [row["accuracy"]["best_baseline"] for row in self.rows]
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @property
    def same_data(self) -> bool:
        """Whether all rows were trained and tested on the same data: none of their seeds is that of a split."""
        return not any(axis.startswith("data.") for row in self.rows for axis in row["axes"] if is_repeat(axis))

    def by_run(self, part: str, model: str, metric: str) -> dict[str, float]:
        """Return a model's figure in each row by the row's seeds; the arguments are those of `values`."""
        names = [titled({a: v for a, v in row["axes"].items() if is_repeat(a)}) for row in self.rows]
        return dict(zip(names, self.values(part, model, metric), strict=False))

    def values(self, part: str, model: str, metric: str, slice_name: str | None = None) -> list[float]:
        """Return a model's figure in each row; nothing if a row has none, or one that is not finite.

        Args:
            part: ``valid`` or ``test``.
            model: A model's name, or `best_baseline`.
            metric: A metric.
            slice_name: Items of the figure; None for the whole part.
        """
        figures = []
        for row in self.rows:
            accuracy = row["accuracy"]
            models = accuracy[part] if slice_name is None else accuracy["slices"].get(slice_name, {}).get(part, {})
            name = accuracy["best_baseline"] if model == BEST_BASELINE else model
            figures.append(models.get(name, {}).get(metric))
        return figures if all(figure is not None and math.isfinite(figure) for figure in figures) else []

    def loses(self, model: str, metric: str, part: str = "test") -> bool:
        """Return whether the mean figure of a model on a part is no better than that of the best baselines."""
        own, best = (self.values(part, name, metric) for name in (model, BEST_BASELINE))
        return bool(own and best) and not better(metric, statistics.mean(own), statistics.mean(best))

    def strongest_on(self, slice_name: str, metric: str) -> str | None:
        """Return the baseline with the best mean test figure on some items, the strictest choice; None without any."""
        means = {
            name: statistics.mean(values)
            for name in self.accuracy["baselines"]
            if name != "collaborative_only" and (values := self.values("test", name, metric, slice_name))
        }
        return (min if metric in LOWER_IS_BETTER else max)(means, key=lambda name: means[name]) if means else None


def collaborative_only(groups: Sequence[Group], metric: str) -> str | None:
    """Return the name of the model that reads no text, in the rows of all groups; None if not all have one."""
    return next((name for name in COLLABORATIVE_ONLY if all(one.values("test", name, metric) for one in groups)), None)


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """Return the groups in the order of their first rows, without rows that are not measured."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        if row["status"] == "ok":
            grouped.setdefault(titled(row_of(row["axes"])), []).append(row)
    return [Group(row_of(own[0]["axes"]), tuple(own)) for own in grouped.values()]
