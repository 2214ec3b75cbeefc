"""Cells: the expansion of a matrix, each a resolved recipe that one process measures."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from llmrec_peft import registry
from llmrec_peft.backbone.remote_code import is_allowed
from llmrec_peft.benchmark.code_digest import code_digest
from llmrec_peft.benchmark.fingerprint import Fingerprints
from llmrec_peft.benchmark.matrix import Matrix, is_repeat
from llmrec_peft.benchmark.sections import AXES, AdapterChoice, Limits, RecipeChoice, Rule, Timing
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.identity import values_digest
from llmrec_peft.recipe import DEMO, Recipe, load_recipe
from llmrec_peft.recipe.yaml_file import read_yaml

MOST_CELLS = 10_000
"""Combinations of a matrix, those included that it leaves out."""
Axes = Mapping[str, Any]
"""Values of a cell by axis."""


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        axes: Values in which it differs from other cells: recipe, backbone, adapter, precision and group if given,
            dotted fields, seeds last.
        recipe: Resolved recipe.
        slice: Items whose accuracy is reported; None for all of the test part.
        limits: Limits after which it is stopped.
        timing: How latencies are measured; None if they are not.
        fingerprint: Digest of the data's files.
        base: Digest of the base model's files; None for an alias or a commit, which name them already.
        code: Digest of the code that computes.
    """

    axes: dict[str, Any]
    recipe: Recipe
    slice: str | None
    limits: Limits
    timing: Timing | None
    fingerprint: str
    base: str | None
    code: str

    @property
    def title(self) -> str:
        """Name for people: ``movies minilm lora bf16 seed 1``."""
        return titled(self.axes)

    @functools.cached_property
    def subject(self) -> str:
        """Digest of what is measured, whatever code measures it: axes, settings, and contents of all files, not places.

        Limits are not part of it.
        """
        timing = None if self.timing is None else self.timing.model_dump(mode="json")
        recipe = self.recipe.plain()
        recipe["data"] = {**recipe["data"], "path": self.fingerprint, "graph": None}
        if self.base is not None:
            recipe["backbone"] = {**recipe["backbone"], "name": self.base}
        return values_digest([self.axes, recipe, self.slice, timing])

    @property
    def key(self) -> str:
        """Digest of everything that determines the result: what is measured, and the code that does it."""
        return self.key_under(self.code)

    def key_under(self, code: str) -> str:
        """Return the key that the cell has where another code measures it."""
        return values_digest([self.subject, code])[:16]

    @property
    def file(self) -> str:
        """Name of the cell's JSON file, the same whatever code measures it."""
        plain = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in self.title)
        return f"{plain[-120:].strip('-.')}-{self.subject[:8]}.json"

    def spec(self) -> dict[str, Any]:
        """Return what the cell's process needs, as plain values."""
        return {
            "axes": self.axes,
            "key": self.key,
            "recipe": self.recipe.plain(),
            "fingerprint": self.fingerprint,
            "code": self.code,
            "slice": self.slice,
            "timing": None if self.timing is None else self.timing.model_dump(mode="json"),
            "trust_remote_code": is_allowed(),  # what the person said who started the benchmark
        }


def titled(axes: Axes) -> str:
    """Join the values on all axes; those of dotted fields follow the field's last name."""
    return " ".join(str(value) if axis in AXES else f"{axis.split('.')[-1]} {value}" for axis, value in axes.items())


def row_of(axes: Axes) -> dict[str, Any]:
    """Return the axes in which rows of the report differ: all but seeds.

    >>> row_of({"recipe": "movies", "group": "tuned", "seed": 1, "data.split_seed": 11})
    {'recipe': 'movies', 'group': 'tuned'}
    """
    return {axis: value for axis, value in axes.items() if not is_repeat(axis)}


def load_matrix(path: Path, data: Path | None = None) -> tuple[Matrix, list[Cell]]:
    """Read a matrix and expand it.

    Args:
        path: YAML file.
        data: Folder of the datasets.

    Returns:
        The matrix, and its cells in the order of the report.

    Raises:
        InputError: For anything that cannot be parsed, found or validated; one line that says where.
    """
    matrix = Matrix.from_plain(read_yaml(path), str(path))
    return matrix, expand(matrix, path, data)


def expand(matrix: Matrix, path: Path, data: Path | None = None) -> list[Cell]:
    """Resolve the cells of a matrix.

    Args:
        matrix: Matrix to expand.
        path: Its file, for messages and for recipes beside it.
        data: Folder of the datasets.

    Raises:
        InputError: If a setting does not fit a recipe, a condition matches nothing, or no cell is left.
    """
    cells, used, fingerprints = [], set[int](), Fingerprints()
    conditions = [*(rule.when for rule in matrix.rules), *matrix.exclude]
    for choice, adapter, axes in _combinations(matrix):
        matching = {at for at, condition in enumerate(conditions) if matches(condition, axes, adapter)}
        used |= matching
        rules = [rule for at, rule in enumerate(matrix.rules) if at in matching]
        excluded = any(at >= len(matrix.rules) for at in matching)
        if excluded or any(rule.seeds is not None and axes["seed"] not in rule.seeds for rule in rules):
            continue
        cells.append(_cell(matrix, path, data, choice, adapter, axes, rules, fingerprints))
    for at, condition in enumerate(conditions):
        if at not in used:
            block = f"rules.{at}.when" if at < len(matrix.rules) else f"exclude.{at - len(matrix.rules)}"
            raise InputError(f"{path}: {block}: no cell has {spelled_out(condition)}")
    if not cells:
        raise InputError(f"{path}: every cell is excluded")
    if len({cell.title for cell in cells}) < len(cells):
        twice = next(c.title for at, c in enumerate(cells) if c.title in {one.title for one in cells[:at]})
        raise InputError(f"{path}: two cells are called {twice!r}: give recipes and adapters a `label` of their own")
    return cells


def chosen(cells: Sequence[Cell], pattern: str) -> list[Cell]:
    """Return the cells whose title contains a text, or matches it if it has wildcards.

    Raises:
        InputError: If there are none.
    """
    glob = pattern if any(letter in pattern for letter in "*?[") else f"*{pattern}*"
    matching = [cell for cell in cells if fnmatchcase(cell.title, glob)]
    if not matching:
        raise InputError(f"--only {pattern!r}: no cell of {len(cells)} is called so; {nearest(pattern, _words(cells))}")
    return matching


def matches(condition: Axes, axes: Axes, adapter: AdapterChoice | None = None) -> bool:
    """Return whether a cell has one of the wanted values on every named axis; an adapter also matches by its method."""
    for axis, wanted in condition.items():
        if axis not in axes:
            return False
        values = wanted if isinstance(wanted, list | tuple) else [wanted]
        own = {str(axes[axis])} | ({adapter.method} if axis == "adapter" and adapter is not None else set())
        if not any(fnmatchcase(name, str(value)) for value in values for name in own):
            return False
    return True


def spelled_out(condition: Axes) -> str:
    """Return a condition in words."""
    return ", ".join(f"{axis} {value}" for axis, value in condition.items()) or "nothing to match"


def _combinations(matrix: Matrix) -> Iterator[tuple[RecipeChoice, AdapterChoice | None, dict[str, Any]]]:
    """Yield every task, adapter and combination of axes, the last axis fastest; seeds are last.

    Raises:
        InputError: Before there are more than anybody measures.
    """
    count = 0
    for choice in matrix.recipes:
        groups = matrix.groups if choice.groups is None else choice.groups
        dotted = _dotted_axes(matrix, choice)
        named = {
            "recipe": (choice.label or Path(choice.recipe).stem,),
            "backbone": matrix.backbones,
            "adapter": matrix.adapters,
            "precision": matrix.precisions,
            "group": tuple(groups) or None,
        }
        lists = {axis: values for axis, values in named.items() if values is not None} | dotted
        count += math.prod(map(len, lists.values()))
        if count > MOST_CELLS:
            raise InputError(f"axes: {count:,} combinations; a matrix has at most {MOST_CELLS:,}")
        for values in itertools.product(*lists.values()):
            axes: dict[str, Any] = dict(zip(lists, values, strict=True))
            adapter = axes.get("adapter")
            if adapter is not None:
                axes["adapter"] = adapter.label
            yield choice, adapter, axes


def _dotted_axes(matrix: Matrix, choice: RecipeChoice) -> dict[str, Sequence[Any]]:
    """Return axes by dotted field, a task's own instead of the matrix's, seeds last."""
    merged: dict[str, Sequence[Any]] = {"seed": matrix.seeds or (1,)}
    merged |= matrix.axes
    merged |= {} if choice.seeds is None else {"seed": choice.seeds}
    merged |= choice.axes
    return dict(sorted(merged.items(), key=lambda one: (is_repeat(one[0]), one[0] == "seed")))


def _cell(
    matrix: Matrix,
    path: Path,
    data: Path | None,
    choice: RecipeChoice,
    adapter: AdapterChoice | None,
    axes: dict[str, Any],
    rules: list[Rule],
    fingerprints: Fingerprints,
) -> Cell:
    """Resolve one cell's recipe and limits; later settings win."""
    groups = matrix.groups if choice.groups is None else choice.groups
    changes: dict[str, Any] = _folders(choice, data)
    for settings in (choice.set, matrix.set, groups.get(axes.get("group", ""), {}), *(rule.set for rule in rules)):
        changes |= settings
    changes |= _fields(matrix, adapter, axes, rules)
    try:
        recipe = load_recipe(_source(choice.recipe, path), [], changes)
    except InputError as error:
        raise InputError(f"{path}: cell {titled(axes)}: {error}") from None
    limits = next((rule.limits for rule in reversed(rules) if rule.limits is not None), matrix.limits)
    timing = next((rule.timing for rule in reversed(rules) if rule.timing is not None), matrix.timing)
    found = (fingerprints.of_data(recipe), fingerprints.of_base(recipe), code_digest(recipe))
    return Cell(axes, recipe, choice.slice, limits, timing, *found)


def _folders(choice: RecipeChoice, data: Path | None) -> dict[str, str]:
    """Return the fields that name a task's folders, below the folder of the datasets."""
    given = {"path": choice.data} if isinstance(choice.data, str) else choice.data or {}
    return {
        f"data.{field}": name if name == DEMO or data is None else str(data / name) for field, name in given.items()
    }


def _fields(matrix: Matrix, adapter: AdapterChoice | None, axes: Axes, rules: Sequence[Rule]) -> dict[str, Any]:
    """Return the fields of the recipe that a cell's axes set."""
    fields = {axis: value for axis, value in axes.items() if axis not in AXES}
    if "backbone" in axes:
        fields["backbone.name"] = axes["backbone"]
    if "precision" in axes:
        quantized = axes["precision"] in ("int8", "nf4")
        fields["backbone.quantization"] = axes["precision"] if quantized else "none"
        if not quantized:
            fields["backbone.precision"] = axes["precision"]
    if adapter is not None:
        common = dict(matrix.adapter_set)
        for rule in rules:
            common |= rule.adapter_set
        known = registry.get("adapters", adapter.method).Config.model_fields
        options = {**{name: value for name, value in common.items() if name in known}, **adapter.options}
        fields["adapter"] = {"method": adapter.method, **options}
    return fields


def _source(recipe: str, path: Path) -> str:
    """Return a recipe's name, or its file: a file beside the matrix comes first."""
    beside = path.parent / recipe
    return str(beside) if recipe.endswith((".yaml", ".yml")) and beside.is_file() else recipe


def _words(cells: Sequence[Cell]) -> set[str]:
    return {str(value) for cell in cells for axis, value in cell.axes.items() if not is_repeat(axis)}
