"""Matrix: the YAML description of a benchmark's cells: what varies, what is set, what is compared.

    name: films                         # of the report
    recipes:                            # tasks: names, files, or blocks with data and settings of their own
      - recipe: movies
        label: MovieLens-100K u1
        data: {path: ml-100k, graph: ml-100k-kg}     # below --data; `data: ml-100k` where it is one folder
        seeds: [1, 2, 3]                # in place of the matrix's; `axes`, `groups` and `set` likewise
        metrics: [rmse, mae]            # what the tables show; the primary metric by default
        published: {IGMC: 0.905, GHRS: {rmse: 0.887, source: Darban 2022}}
        aims: {rmse: [0.905, 0.890]}    # wanted, hoped for
    seeds: [1, 2, 3]                    # the same as `seed` among the axes
    axes:                               # dotted fields of the recipe, every combination
      data.train_size: [16, 256]
    groups:                             # named settings, each a row of the report
      tuned: {}
      frozen: {adapter.method: none, training.epochs: 30}
    backbones: [minilm, smollm2]        # axes with names of their own; without them the recipe's own stands
    adapters: [none, lora, {method: lora, rank: 32, label: lora rank 32}]
    precisions: [bf16]                  # auto, fp32, bf16, int8, nf4
    set: {training.epochs: 3}           # dotted fields of every recipe
    adapter_set: {layers: top-2}        # options of every adapter of `adapters` that has them
    rules:                              # later rules win; a list matches any of its values, * any text
      - when: {backbone: smollm2}
        set: {data.max_items: 500}
        seeds: [1]
    exclude:
      - {backbone: smollm2, adapter: full}
    comparisons:                        # paired bootstrap over examples and seeds
      - {models: [after, blend], against: best_baseline}
      - {first: {group: tuned}, against: {group: frozen}, resamples: 4000}
    timing: null                        # latencies are not measured; a block says how they are
    limits: {seconds: 900, memory_gb: 12}

A cell's recipe is the recipe's file, then its own `set`, then `set`, its group, the rules that match, and its values on
the axes. Where `adapters` is given, a recipe's own adapter block is replaced whole. A row of the report is the mean
over axes that are seeds: `seed`, and every field whose name ends with `_seed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from llmrec_peft import registry
from llmrec_peft.benchmark.sections import (
    AXES,
    PRIMARY,
    AdapterChoice,
    Comparison,
    Condition,
    Limits,
    Precision,
    RecipeChoice,
    Rule,
    Settings,
    Timing,
)
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.options import Options, one_line


class Matrix(Options):
    """Everything that determines what a benchmark measures."""

    name: str = Field(min_length=1, max_length=96, pattern=r"^[\w][\w .\-]*$")
    """Name of the benchmark in its report."""
    description: str = ""
    """One or two sentences for the report."""
    recipes: tuple[RecipeChoice, ...] = Field(min_length=1)
    """Tasks."""
    backbones: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Aliases, folders or Hub ids; the recipe's own by default."""
    adapters: tuple[AdapterChoice, ...] | None = Field(default=None, min_length=1)
    """Adapter methods; the recipe's own block by default."""
    precisions: tuple[Precision, ...] | None = Field(default=None, min_length=1)
    """Number formats of the frozen weights; with int8 and nf4, `backbone.precision` is the format of computations."""
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Seeds of initial values, batch order and dropout; only 1 by default."""
    axes: dict[str, list[Any]] = Field(default_factory=dict)
    """Dotted fields of the recipe and the values of each."""
    groups: dict[str, Settings] = Field(default_factory=dict)
    """Settings of each named row of the report."""
    set: Settings = Field(default_factory=dict)
    """Dotted fields and values of every cell's recipe."""
    adapter_set: dict[str, Any] = Field(default_factory=dict)
    """Options of every adapter that has them."""
    rules: tuple[Rule, ...] = ()
    """Settings of some cells; a later rule takes precedence."""
    exclude: tuple[Condition, ...] = ()
    """Cells that are left out."""
    comparisons: tuple[Comparison, ...] = ()
    """Comparisons after all cells are measured."""
    limits: Limits = Limits()
    """Limits of each cell."""
    timing: Timing | None = Timing()
    """How latencies are measured; null measures none."""

    @model_validator(mode="before")
    @classmethod
    def _names(cls, values: Any) -> Any:
        """Accept a recipe's bare name."""
        if isinstance(values, dict) and isinstance(values.get("recipes"), list | tuple):
            blocks = [{"recipe": one} if isinstance(one, str) else one for one in values["recipes"]]
            return {**values, "recipes": blocks}
        return values

    @classmethod
    def from_plain(cls, values: Any, where: str) -> Self:
        """Validate plain values.

        Raises:
            InputError: One line that names the file and the field.
        """
        if not isinstance(values, dict):
            raise InputError(f"{where}: a matrix is a mapping of fields, got {type(values).__name__}")
        try:
            matrix = cls.model_validate(values)
            matrix._check()
        except ValidationError as error:
            raise InputError(f"{where}: {one_line(error, cls)}") from None
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        return matrix

    def _check(self) -> None:
        """Refuse unknown names, and fields that two axes would set."""
        for adapter in self.adapters or ():
            registry.get("adapters", adapter.method)
        if self.adapter_set and self.adapters is None:
            raise InputError("adapter_set: reaches `adapters` alone, and there are none; `set` takes adapter.… fields")
        self._check_axes("", self.axes, self.seeds)
        for at, choice in enumerate(self.recipes):
            self._check_axes(f"recipes.{at}.", choice.axes, choice.seeds)
            for name, published in choice.published.items():
                _check_metrics(f"recipes.{at}.published.{name}", published.figures)
            _check_metrics(f"recipes.{at}.metrics", choice.metrics)
            _check_metrics(f"recipes.{at}.aims", choice.aims)
        for at, comparison in enumerate(self.comparisons):
            _check_metrics(f"comparisons.{at}.metrics", comparison.metrics)
            self._check_condition(f"comparisons.{at}.first", comparison.first)
            if isinstance(comparison.against, dict):
                self._check_condition(f"comparisons.{at}.against", comparison.against)
        for at, rule in enumerate(self.rules):
            self._check_condition(f"rules.{at}.when", rule.when)
        for at, condition in enumerate(self.exclude):
            self._check_condition(f"exclude.{at}", condition)

    def _check_axes(self, where: str, axes: Mapping[str, list[Any]], seeds: tuple[int, ...] | None) -> None:
        named = {"backbone.name": "backbones", "adapter.method": "adapters", "backbone.precision": "precisions"}
        for field, values in axes.items():
            if not values:
                raise InputError(f"{where}axes.{field}: no value is listed")
            if field == "seed" and seeds is not None:
                raise InputError(f"{where}axes.seed: `{where}seeds` sets it already")
            if field in named and getattr(self, named[field]) is not None:
                raise InputError(f"{where}axes.{field}: `{named[field]}` sets it already")
            if field in AXES:
                raise InputError(f"{where}axes.{field}: an axis is a dotted field of the recipe")

    def _check_condition(self, where: str, condition: Condition) -> None:
        known = {*AXES, "seed", *self.axes, *(field for choice in self.recipes for field in choice.axes)}
        for axis in condition:
            if axis not in known:
                raise InputError(f"{where}.{axis}: no axis is called so; {nearest(axis, known)}")


def is_repeat(axis: str) -> bool:
    """Return whether a row of the report is a mean over this axis: a seed of training, or of a split."""
    return axis == "seed" or axis.endswith("_seed")


def _check_metrics(where: str, metrics: Iterable[str]) -> None:
    from llmrec_peft.workflows.compare import METRICS

    known = [PRIMARY, *(metric for of_task in METRICS.values() for metric in of_task)]
    for metric in metrics:
        if metric not in known:
            raise InputError(f"{where}: no metric is called {metric!r}; {nearest(metric, known)}")
