"""Cells: what a matrix expands to, each a resolved recipe that one process measures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from llmrec_peft import __version__, registry
from llmrec_peft.benchmark.matrix import AXES, AdapterChoice, Limits, Matrix, RecipeChoice, Rule, Timing
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.identity import values_digest
from llmrec_peft.recipe import DEMO, Recipe, load_recipe
from llmrec_peft.recipe.yaml_file import read_yaml


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        axes: What it is told apart by: recipe, backbone, adapter, precision, seed.
        method: Registered adapter method.
        recipe: Resolved recipe.
        slice: Items whose accuracy is reported; None for all of the test part.
        limits: When it is stopped.
        timing: How latencies are measured.
    """

    axes: dict[str, Any]
    method: str
    recipe: Recipe
    slice: str | None
    limits: Limits
    timing: Timing

    @property
    def title(self) -> str:
        """Name for people: ``movies minilm lora bf16 seed 1``."""
        *names, seed = (str(self.axes[axis]) for axis in AXES)
        return f"{' '.join(names)} seed {seed}"

    @property
    def key(self) -> str:
        """Digest of everything that decides what is measured, the package's version included, limits apart."""
        timing = self.timing.model_dump(mode="json")
        return values_digest([self.axes, self.recipe.plain(), self.slice, timing, __version__])[:16]

    @property
    def file(self) -> str:
        """Name of the cell's JSON file."""
        plain = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in self.title)
        return f"{plain[-120:].strip('-.')}-{self.key[:8]}.json"

    def spec(self) -> dict[str, Any]:
        """What the cell's process is told, as plain values."""
        return {
            "axes": self.axes,
            "key": self.key,
            "method": self.method,
            "recipe": self.recipe.plain(),
            "slice": self.slice,
            "timing": self.timing.model_dump(mode="json"),
        }


def load_matrix(path: Path, data: Path | None = None) -> tuple[Matrix, list[Cell]]:
    """Read a matrix and expand it.

    Args:
        path: YAML file.
        data: Folder that holds the datasets.

    Returns:
        The matrix, and its cells in the order of the report.

    Raises:
        InputError: For anything that does not parse, name or validate; one line that says where.
    """
    matrix = Matrix.from_plain(read_yaml(path), str(path))
    return matrix, expand(matrix, path, data)


def expand(matrix: Matrix, path: Path, data: Path | None = None) -> list[Cell]:
    """The cells of a matrix.

    Args:
        matrix: What to expand.
        path: Its file, for messages and for recipes that lie beside it.
        data: Folder that holds the datasets.

    Raises:
        InputError: When a setting does not fit a recipe, a condition matches nothing, or nothing is left.
    """
    cells, used = [], set[int]()
    conditions = [*(rule.when for rule in matrix.rules), *matrix.exclude]
    axes = (matrix.recipes, matrix.backbones, matrix.adapters, matrix.precisions, matrix.seeds)
    for choice, backbone, adapter, precision, seed in itertools.product(*axes):
        label = choice.label or Path(choice.recipe).stem
        named = dict(zip(AXES, (label, backbone, adapter.label, precision, seed), strict=True))
        matching = {at for at, condition in enumerate(conditions) if _matches(condition, named, adapter.method)}
        used |= matching
        rules = [rule for at, rule in enumerate(matrix.rules) if at in matching]
        excluded = any(at >= len(matrix.rules) for at in matching)
        if excluded or any(rule.seeds is not None and seed not in rule.seeds for rule in rules):
            continue
        cells.append(_cell(matrix, path, data, choice, adapter, named, rules))
    for at, condition in enumerate(conditions):
        if at not in used:
            block = f"rules.{at}.when" if at < len(matrix.rules) else f"exclude.{at - len(matrix.rules)}"
            raise InputError(f"{path}: {block}: no cell has {_said(condition)}")
    if not cells:
        raise InputError(f"{path}: every cell is excluded")
    if len({cell.title for cell in cells}) < len(cells):
        twice = next(c.title for at, c in enumerate(cells) if c.title in {one.title for one in cells[:at]})
        raise InputError(f"{path}: two cells are called {twice!r}: give recipes and adapters a `label` of their own")
    return cells


def chosen(cells: Sequence[Cell], pattern: str) -> list[Cell]:
    """Cells whose title holds a text, or matches it where it has wildcards.

    Raises:
        InputError: When there are none.
    """
    glob = pattern if any(letter in pattern for letter in "*?[") else f"*{pattern}*"
    found = [cell for cell in cells if fnmatchcase(cell.title, glob)]
    if not found:
        raise InputError(f"--only {pattern!r}: no cell of {len(cells)} is called so; {nearest(pattern, _words(cells))}")
    return found


def _cell(
    matrix: Matrix,
    path: Path,
    data: Path | None,
    choice: RecipeChoice,
    adapter: AdapterChoice,
    axes: dict[str, Any],
    rules: list[Rule],
) -> Cell:
    """Resolve one cell's recipe and limits; later settings win."""
    changes: dict[str, Any] = {"evaluation.ablations": [], "evaluation.bootstrap": 0}  # paid for, not reported
    if choice.data is not None:
        changes["data.path"] = choice.data if choice.data == DEMO or data is None else str(data / choice.data)
    common = dict(matrix.adapter_set)
    for settings in (choice.set, matrix.set, *(rule.set for rule in rules)):
        changes |= settings
    for rule in rules:
        common |= rule.adapter_set
    known = registry.get("adapters", adapter.method).Config.model_fields
    options = {**{name: value for name, value in common.items() if name in known}, **adapter.options}
    quantized = axes["precision"] in ("int8", "nf4")
    changes |= {"backbone.name": axes["backbone"], "backbone.quantization": axes["precision"] if quantized else "none"}
    if not quantized:
        changes["backbone.precision"] = axes["precision"]
    changes |= {"seed": axes["seed"], "adapter": {"method": adapter.method, **options}}
    try:
        recipe = load_recipe(_source(choice.recipe, path), [], changes)
    except InputError as error:
        raise InputError(f"{path}: cell {' '.join(str(value) for value in axes.values())}: {error}") from None
    limits = next((rule.limits for rule in reversed(rules) if rule.limits is not None), matrix.limits)
    timing = next((rule.timing for rule in reversed(rules) if rule.timing is not None), matrix.timing)
    return Cell(axes, adapter.method, recipe, choice.slice, limits, timing)


def _source(recipe: str, path: Path) -> str:
    """A recipe's name, or its file: beside the matrix first."""
    beside = path.parent / recipe
    return str(beside) if recipe.endswith((".yaml", ".yml")) and beside.is_file() else recipe


def _matches(condition: Mapping[Any, Any], axes: Mapping[str, Any], method: str) -> bool:
    """Whether a cell has one of the wanted values on every axis named; an adapter also answers to its method."""
    for axis, wanted in condition.items():
        values = wanted if isinstance(wanted, list | tuple) else [wanted]
        own = {str(axes[axis])} | ({method} if axis == "adapter" else set())
        if not any(fnmatchcase(name, str(value)) for value in values for name in own):
            return False
    return True


def _said(condition: Mapping[Any, Any]) -> str:
    return ", ".join(f"{axis} {value}" for axis, value in condition.items()) or "nothing to match"


def _words(cells: Sequence[Cell]) -> set[str]:
    return {str(value) for cell in cells for axis, value in cell.axes.items() if axis != "seed"}
