"""Measurements: what a folder's recipes reached on real data, as committed beside them in ``figures.json``.

    {"measurements": [{
      "recipe": "games", "data": "steam-200k", "graph": null, "set": {},
      "result": {
        "seeds": [1, 2, 3], "split": "random", "metric": "ndcg@10", "adapter_parameters": 24576,
        "test": {
          "best_baseline": {"name": "neighbour_counts", "figures": [0.30, 0.30, 0.30]},
          "collaborative_only": {"name": "collaborative_only", "figures": [0.29, 0.30, 0.29]},
          "frozen": {"name": "before", "figures": [0.21, 0.21, 0.21]},
          "tuned": {"name": "after", "figures": [0.31, 0.32, 0.31]},
          "served": {"name": "recommended", "figures": [0.33, 0.33, 0.33]}},
        "served_minus_best_baseline": {
          "difference": 0.03, "low": 0.01, "high": 0.05, "unit": "user", "seeds": "pooled"},
        "tuned_minus_frozen": {
          "difference": 0.10, "low": 0.08, "high": 0.12, "unit": "user", "seeds": "pooled"},
        "loses": false, "date": "2026-11-29", "hardware": "AMD EPYC, 2 cores"}}]}

A measurement whose result is null, and a recipe without one, was not run. `benchmarks/recipes.py` writes the file.
"""

from __future__ import annotations

import datetime
import statistics
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.options import Options, one_line
from llmrec_peft.strict_json import read_object

FILE = "figures.json"
"""Name of the file, in the folder of the recipes that it is about."""
LIMIT = 2**20
"""Bytes that it can have."""
LOWER_IS_BETTER = frozenset({"rmse", "mae", "log_loss"})
"""Metrics of which the smaller figure is better."""


class ModelFigures(Options):
    """What one model reached on test."""

    name: str = Field(min_length=1, max_length=96)
    """Its name in the runs' ``metrics.json``; of several, one a seed, joined by ``or``."""
    figures: tuple[float, ...] = Field(min_length=1)
    """The metric of each seed."""

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.mean(self.figures)


class Models(Options):
    """The models of a table's row; null for one that a recipe does not have."""

    best_baseline: ModelFigures
    """Of all simple methods the one that is best on validation."""
    collaborative_only: ModelFigures | None = None
    """The model that learns from who chose what and reads no text."""
    frozen: ModelFigures | None = None
    """The language model's texts, untuned."""
    tuned: ModelFigures
    """The whole recipe; with no adapter parameters its texts are frozen, too."""
    served: ModelFigures
    """What the run answers with: the tuned model, a baseline, or both."""


class MeasuredDifference(Options):
    """A paired difference of two models with the wider of its 95 % bootstrap intervals."""

    difference: float
    """The first model's figure less the second's."""
    low: float
    """Lower bound."""
    high: float
    """Upper bound."""
    unit: Literal["user", "item", "person"]
    """What was resampled."""
    seeds: Literal["pooled", "nearest to zero"]
    """Whether seeds were resampled, too; else runs have tests of their own, and it is that which is nearest to zero."""

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0.0 or self.high < 0.0


class Result(Options):
    """What runs of several seeds reached."""

    seeds: tuple[int, ...] = Field(min_length=1)
    """Seeds of the runs."""
    split: str
    """How the data was divided."""
    metric: str
    """The primary metric of the recipe's first head."""
    adapter_parameters: int = Field(ge=0)
    """Numbers trained inside the language model."""
    test: Models
    """Figures on test data, which chose nothing."""
    served_minus_best_baseline: MeasuredDifference | None = None
    """Null where no intervals were computed."""
    tuned_minus_frozen: MeasuredDifference | None = None
    """Null where no intervals were computed, or nothing is tuned."""
    loses: bool
    """Whether what is served is no better than the best baseline, on the mean over seeds."""
    date: datetime.date
    """When the last run ended."""
    hardware: str = Field(min_length=1, max_length=200)
    """Where."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Refuse a row that contradicts itself."""
        for field in Models.model_fields:
            model = getattr(self.test, field)
            if model is not None and len(model.figures) != len(self.seeds):
                raise ValueError(f"{field} has {len(model.figures)} figures of {len(self.seeds)} seeds")
        if self.loses != loses(self.metric, self.test):
            served, best = self.test.served.mean, self.test.best_baseline.mean
            raise ValueError(f"loses is {self.loses}, but {self.metric} is {served} served and {best} of the baseline")
        return self


class Measurement(Options):
    """A recipe on data, and what it reached."""

    recipe: str = Field(min_length=1)
    """Its registered name."""
    data: str = Field(pattern=r"^[\w.-]+$")
    """Name of the data's folder."""
    graph: str | None = Field(default=None, pattern=r"^[\w.-]+$")
    """Name of the folder of a knowledge graph."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Further dotted fields and values of the recipe."""
    result: Result | None = None
    """Null where it was not run."""

    @property
    def command(self) -> str:
        """The command that trains one seed; SEED stands for it."""
        graph = f" --set data.graph=data/{self.graph}" if self.graph else ""
        changes = "".join(f" --set {field}={value}" for field, value in self.set.items())
        return f"llmrec train {self.recipe} --data data/{self.data}{graph}{changes} --set seed=SEED"


class Measurements(Options):
    """The whole file."""

    measurements: tuple[Measurement, ...] = ()
    """In the order of the table."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        """Refuse one that stands there twice."""
        seen = [(one.recipe, one.data, one.graph, str(one.set)) for one in self.measurements]
        if len(set(seen)) < len(seen):
            raise ValueError("a recipe stands there twice with the same data and settings")
        return self


def loses(metric: str, test: Models) -> bool:
    """Return whether what is served is no better than the best baseline, on the mean over seeds."""
    served, best = test.served.mean, test.best_baseline.mean
    return served >= best if metric in LOWER_IS_BETTER else served <= best


def read_measurements(file: Path) -> tuple[Measurement, ...]:
    """Read a ``figures.json``; none where there is no such file.

    Raises:
        InputError: One line that names the file and the field.
    """
    if not file.exists():
        return ()
    try:
        return Measurements.model_validate(read_object(file, LIMIT)).measurements
    except ValidationError as error:
        raise InputError(f"{file}: {one_line(error, Measurements)}") from None


def measurements_of(recipe: str) -> tuple[Measurement, ...]:
    """Return what the package of a registered recipe says that it reached; none where it says nothing.

    Raises:
        InputError: If there is no such recipe, or its ``figures.json`` is not as described above.
    """
    file: Path = registry.get("recipes", recipe)
    return tuple(one for one in read_measurements(file.with_name(FILE)) if one.recipe == recipe)
