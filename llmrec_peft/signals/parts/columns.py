"""Columns: known columns of users or items, as numbered categories and standardized numbers."""

from __future__ import annotations

import math
import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.errors import InputError


@dataclass(frozen=True)
class Columns:
    """Chosen columns of one side, by index; row 0, the unknown user or item, is empty.

    Attributes:
        category: Category indices from 1, 0 for none, int64 [rows, width].
        share: Weight of each, so that a column's categories sum to 1, float32 [rows, width].
        number: Standardized numbers, 0 if missing, then 1 where missing, float32 [rows, 2 · numbers].
        categories: ``column=value`` of each category index.
        numbers: Names of numeric columns.
    """

    category: NDArray[np.int64]
    share: NDArray[np.float32]
    number: NDArray[np.float32]
    categories: tuple[str, ...]
    numbers: tuple[str, ...]

    @classmethod
    def of(
        cls,
        table: Mapping[str, Sequence[Any]],
        chosen: Sequence[str],
        trained: NDArray[np.bool_],
        min_count: int,
        where: str,
    ) -> Columns:
        """Number a table's columns by the values of training rows.

        A column of strings, truth values or lists has categories; one of numbers is standardized to mean 0 and
        deviation 1.

        Args:
            table: All columns, row by row from index 1.
            chosen: Names of those that are read.
            trained: Which indices, from 0, occur in training.
            min_count: Training rows that a category needs; rarer ones are treated as missing.
            where: Field of the recipe, for messages.

        Raises:
            InputError: For a column that the data lacks, or that is neither.
        """
        rows = len(trained)
        categories: list[str] = []
        entries: list[list[tuple[int, float]]] = [[] for _ in range(rows)]
        numbers: list[NDArray[np.float32]] = []
        missing: list[NDArray[np.float32]] = []
        named: list[str] = []
        for name in chosen:
            require_columns(table, [name], where)
            values = table[name]
            if len(values) != rows - 1:
                raise InputError(f"{where}: column {name!r} has {len(values)} rows for {rows - 1} known ids")
            if _is_numeric(name, values, where):
                number, absent = _standardized(values, trained)
                named.append(name)
                numbers.append(number)
                missing.append(absent)
                continue
            listed = [(), *(_listed(value) for value in values)]
            counts = Counter(v for row in np.flatnonzero(trained).tolist() for v in listed[row])
            kept = sorted(value for value, count in counts.items() if count >= min_count)
            index = {value: len(categories) + at for at, value in enumerate(kept, start=1)}
            categories += [f"{name}={value}" for value in kept]
            for row, found in enumerate(listed):
                known = [index[value] for value in found if value in index]
                entries[row] += [(number, 1.0 / len(known)) for number in known]
        width = max(map(len, entries), default=0)
        category, share = np.zeros((rows, width), np.int64), np.zeros((rows, width), np.float32)
        for row, found_entries in enumerate(entries):
            for place, (number_of, counted) in enumerate(found_entries):
                category[row, place], share[row, place] = number_of, counted
        blocks = [*numbers, *missing]
        stacked = np.stack(blocks, axis=1) if blocks else np.zeros((rows, 0), np.float32)
        return cls(category, share, stacked, tuple(categories), tuple(named))


def require_columns(table: Any, chosen: Sequence[str], where: str) -> None:
    """Refuse names that a table does not have.

    Args:
        table: Names of the columns that exist, or a mapping of them.
        chosen: Names asked for.
        where: Field of the recipe.

    Raises:
        InputError: Naming the columns there are.
    """
    for name in chosen:
        if name not in table:
            raise InputError(
                f"{where}: the data has no column {name!r}; there are {', '.join(sorted(table)) or 'none'}"
            )


def _is_numeric(name: str, values: Sequence[Any], where: str) -> bool:
    """Return whether a column holds numbers; otherwise it has categories."""
    there = [value for value in values if value is not None]
    if there and all(isinstance(value, numbers.Real) and not isinstance(value, bool) for value in there):
        return True
    inside = (v for value in there if isinstance(value, list | tuple) for v in value)
    if all(isinstance(value, str | bool | list | tuple) for value in there) and all(
        isinstance(value, str | bool | int) for value in inside
    ):
        return False
    raise InputError(f"{where}: column {name!r} holds neither strings, lists of strings nor numbers")


def _listed(value: Any) -> tuple[str, ...]:
    """Return the distinct categories of one row; an empty string is none."""
    if value is None:
        return ()
    several = value if isinstance(value, list | tuple) else (value,)
    return tuple(dict.fromkeys(text for text in map(str, several) if text))


def _standardized(values: Sequence[Any], trained: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return numbers standardized over trained rows, 0 if missing, and marks of missing ones, each [rows]."""
    given = np.array([math.nan, *(math.nan if value is None else float(value) for value in values)], np.float64)
    there = np.isfinite(given)
    known = given[there & trained]
    mean, spread = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
    standard = np.where(there, (np.where(there, given, 0.0) - mean) / (spread if spread > 0.0 else 1.0), 0.0)
    missing = (~there).astype(np.float32)
    missing[0] = 0.0
    return standard.astype(np.float32), missing
