"""Sections: the blocks of a matrix: tasks, adapters, published figures, rules, comparisons, limits, timing."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from llmrec_peft.options import Options

AXES = ("recipe", "backbone", "adapter", "precision", "group")
"""Axes with names of their own, in the order of the report; all others are dotted fields of the recipe."""
PRIMARY = "primary"
"""Represents the primary metric of a recipe's head."""
BEST_BASELINE = "best_baseline"
"""Represents each run's own baseline that is best on validation."""
Precision = Literal["auto", "fp32", "bf16", "int8", "nf4"]
Slice = Literal["items_with_0_ratings", "items_with_1_to_5_ratings", "items_with_over_5_ratings"]
Settings = dict[str, Any]
"""Dotted fields of a recipe and their values."""
Condition = dict[str, Any]
"""Axes and matching values: a value, or a list of them; `*` stands for any text."""


class Published(Options):
    """Figures of a model as published by its authors or others."""

    figures: dict[str, float] = Field(min_length=1)
    """Figure by metric."""
    source: str = ""
    """Where they were published, or under which protocol they were measured."""

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, values: Any) -> Any:
        """Accept a bare number (the primary metric), and metrics beside `source`."""
        if isinstance(values, int | float) and not isinstance(values, bool):
            return {"figures": {PRIMARY: values}}
        if not isinstance(values, dict) or "figures" in values:
            return values
        figures = {metric: figure for metric, figure in values.items() if metric != "source"}
        return {"figures": figures, "source": values.get("source", "")}


class RecipeChoice(Options):
    """A task: a recipe with its data, settings, axes and groups, and the figures to compare with."""

    recipe: str
    """Registered name, or YAML file (beside the matrix, or relative to the current folder)."""
    label: str = ""
    """Name in the report; the recipe's own name by default."""
    data: str | dict[str, str] | None = None
    """Folder below --data, or `demo`, or a folder for each field of `data` ({path: …, graph: …})."""
    set: Settings = Field(default_factory=dict)
    """Dotted fields and values for this recipe alone."""
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Seeds of this recipe, instead of the matrix's."""
    axes: dict[str, list[Any]] = Field(default_factory=dict)
    """Axes of this recipe, added to the matrix's or instead of those of the same name."""
    groups: dict[str, Settings] | None = None
    """Groups of this recipe, instead of the matrix's."""
    slice: Slice | None = None
    """Items to which the test accuracy is limited; the whole test part by default."""
    slices: tuple[Slice, ...] = ()
    """Items whose test accuracy has a row of its own, in addition to that of the whole test part."""
    metrics: tuple[str, ...] = ()
    """Metrics that the tables show; the primary one by default."""
    published: dict[str, Published] = Field(default_factory=dict)
    """Published figures by model: a number for the primary metric, or a block of metrics and `source`."""
    aims: dict[str, float | tuple[float, ...]] = Field(default_factory=dict)
    """Target figures by metric: one, or a wanted and a hoped-for one."""


class AdapterChoice(Options):
    """An adapter method with options."""

    method: str
    """Registered adapter method."""
    label: str
    """Name in the report."""
    options: dict[str, Any]
    """The method's options."""

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, values: Any) -> Any:
        """Accept a bare name, and options beside the name."""
        if isinstance(values, str):
            return {"method": values, "label": values, "options": {}}
        if not isinstance(values, dict) or not isinstance(values.get("method"), str):
            raise ValueError("an adapter is a name, or a block with `method` and its options")
        if set(values) == {"method", "label", "options"}:
            return values
        options = {key: value for key, value in values.items() if key not in ("method", "label")}
        named = " ".join([values["method"], *(f"{key}={value}" for key, value in options.items())])
        return {"method": values["method"], "label": values.get("label", named), "options": options}


class Limits(Options):
    """Limits after which a cell is stopped."""

    seconds: float = Field(default=900.0, gt=0.0)
    """Wall-clock time, in seconds."""
    memory_gb: float = Field(default=12.0, gt=0.0)
    """Resident memory of all the cell's processes together, in GiB."""


class Timing(Options):
    """How latencies are measured."""

    texts: int = Field(default=64, ge=1, le=4096)
    """Texts per step, and texts that stand for those of new items."""
    steps: bool = True
    """Whether optimizer steps are timed, too."""
    repeats: int = Field(default=20, ge=2, le=10_000)
    """Steps at most."""
    calls: int = Field(default=200, ge=2, le=100_000)
    """Calls of each kind of answer at most; the 99th percentile needs some hundred."""
    candidates: int = Field(default=100, ge=1, le=100_000)
    """Items that are scored for each user in one call."""
    seconds: float = Field(default=10.0, gt=0.0)
    """Time in seconds after which no further repetition of a measurement starts; five are always made."""


class Rule(Options):
    """Settings of the cells that match."""

    when: Condition
    """Axes and values of the matching cells."""
    set: Settings = Field(default_factory=dict)
    """Dotted fields and values."""
    adapter_set: dict[str, Any] = Field(default_factory=dict)
    """Options of every adapter that has them."""
    seeds: tuple[int, ...] | None = None
    """Seeds of these cells, a subset of those that the matrix lists."""
    limits: Limits | None = None
    """Limits of these cells."""
    timing: Timing | None = None
    """Timing of these cells."""


class Comparison(Options):
    """Paired bootstrap of rows of the report against other rows, or against a model of their own runs."""

    first: Condition = Field(default_factory=dict)
    """Rows to compare; all by default. Each is compared separately."""
    against: Condition | str = BEST_BASELINE
    """Rows of the same recipe (the axes not named are those of `first`), or a model of the same runs:
    `best_baseline`, `before`, or any other name in their metrics."""
    models: tuple[str, ...] = Field(default=("after",), min_length=1)
    """Models of the runs that are compared, such as `after` and `blend`; models that a run does not have are left
    out."""
    metrics: tuple[str, ...] = ()
    """Metrics to compare; by default those that the tables show. Those of other tasks are left out."""
    resamples: int = Field(default=2000, ge=1, le=1_000_000)
    """Bootstrap resamples of the intervals."""
