"""Predictions of a run's test part: each model's scores of every example, for comparisons between runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from llmrec_peft.artifact.manifest import limit_of
from llmrec_peft.artifact.parquet import Table
from llmrec_peft.artifact.sealed import read_content
from llmrec_peft.errors import InputError
from llmrec_peft.identity import values_digest

NAME = "predictions.parquet"
"""The file in a run folder. It contains users' interactions: private, never published, no part of the run's version."""
_KEY = b"llmrec"
_OBSERVED = "observed"
_TASKS = ("rating", "click", "ranking")


@dataclass(frozen=True)
class HeadPredictions:
    """Predictions of the models under one head for the test examples.

    Attributes:
        task: ``rating``, ``click`` or ``ranking``.
        metric: The head's primary metric.
        best_baseline: The baseline that was best on validation; None if there is none.
        observed: Labels in the form that the head's metrics read, [n].
        models: By model, a score for each example, or for rankings the rank of its item, [n].
    """

    task: str
    metric: str
    best_baseline: str | None
    observed: NDArray[np.floating]
    models: Mapping[str, NDArray[np.floating]]

    def take(self, rows: NDArray[np.int64]) -> HeadPredictions:
        """Return the predictions of some examples."""
        models = {name: values[rows] for name, values in self.models.items()}
        return HeadPredictions(self.task, self.metric, self.best_baseline, self.observed[rows], models)


@dataclass(frozen=True)
class Predictions:
    """Predictions for the test examples.

    Attributes:
        user: User ids [n].
        item: Item ids [n].
        label: Labels as the owner gives them, float32 [n].
        heads: Predictions under each head, by its name; the primary one first.
        person: Number of each example's person, int64 [n], where several users are records of one; else None.
        impression: Number of the list that each example's item was shown in, int64 [n], where known; else None.
    """

    user: Sequence[str]
    item: Sequence[str]
    label: NDArray[np.float32]
    heads: Mapping[str, HeadPredictions]
    person: NDArray[np.int64] | None = None
    impression: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.label)

    @cached_property
    def digest(self) -> str:
        """Return the digest of the examples, independent of the predictions."""
        return values_digest([list(self.user), list(self.item), [float(label) for label in self.label]])

    def in_order(self) -> Predictions:
        """Return the same examples sorted by user, item and label; equal ones stay in their order."""
        rows = np.lexsort((self.label, numbered(self.item), numbered(self.user)))
        heads = {name: head.take(rows) for name, head in self.heads.items()}
        person, shown = (None if own is None else own[rows] for own in (self.person, self.impression))
        users, items = ([names[row] for row in rows.tolist()] for names in (self.user, self.item))
        return Predictions(users, items, self.label[rows], heads, person, shown)

    def by_person(self) -> NDArray[np.int64]:
        """Return which examples are of one person, numbered in the order of these examples, int64 [n].

        Users are their own persons where none are known.
        """
        persons = numbered(self.user) if self.person is None else self.person
        _, first, place = np.unique(persons, return_index=True, return_inverse=True)
        return np.asarray(first[place], np.int64)


def numbered(names: Sequence[str]) -> NDArray[np.int64]:
    """Return the place of each name among the distinct ones in order, int64 [n].

    An array of texts would take the room of the longest for each, and leave zeros at their ends out.

    >>> numbered(["b", "a", "b"]).tolist()
    [1, 0, 1]
    """
    place = {name: at for at, name in enumerate(sorted(set(names)))}
    return np.fromiter((place[name] for name in names), np.int64, len(names))


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions: ``user_id``, ``item_id``, ``label``, ``HEAD/MODEL`` for every model, and what groups them.

    These columns are ``person`` and ``impression``, where they are known.
    """
    columns: dict[str, Any] = {"user_id": predictions.user, "item_id": predictions.item, "label": predictions.label}
    groups = {"person": predictions.person, "impression": predictions.impression}
    columns |= {name: numbers for name, numbers in groups.items() if numbers is not None}
    facts: dict[str, Any] = {}
    for name, head in predictions.heads.items():
        facts[name] = {"task": head.task, "metric": head.metric, "best_baseline": head.best_baseline}
        columns[f"{name}/{_OBSERVED}"] = head.observed
        columns |= {f"{name}/{model}": values for model, values in head.models.items()}
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps({"part": "test", "heads": facts})})
    pq.write_table(table, path)


def read_predictions(path: Path, content: bytes | bytearray | None = None) -> Predictions:
    """Read what `write_predictions` wrote, in the order of `Predictions.in_order`.

    Args:
        path: The file.
        content: Its bytes, if they were read and verified already.

    Raises:
        InputError: If the file is missing, or is something else.
    """
    if content is None and not path.is_file():
        raise InputError(
            f"{path.parent} has no {path.name}: the run was trained by an earlier version, or came without its private"
            " files; train it again"
        )
    table = Table(read_content(path, limit_of(NAME)) if content is None else content, path)
    table.require("user_id", "item_id", "label")
    try:
        stored = dict(json.loads((table.schema.metadata or {})[_KEY])["heads"])
        facts_of = {str(name): dict(facts) for name, facts in stored.items()}
        heads = {name: _head(table, name, facts) for name, facts in facts_of.items()}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise table.wrong(f"its head says {(str(error).splitlines() or ['nothing'])[0][:80]!r}") from None
    users, items = table.texts("user_id"), table.texts("item_id")
    person, shown = (
        table.numbers(name, pa.int64()) if name in table.schema.names else None for name in ("person", "impression")
    )
    return Predictions(users, items, table.numbers("label", pa.float32()), heads, person, shown).in_order()


def _head(table: Table, name: str, facts: Mapping[str, Any]) -> HeadPredictions:
    """Return one head's predictions; with KeyError for what its facts or columns lack."""
    own = [column for column in table.schema.names if column.startswith(f"{name}/")]
    values = {
        column.removeprefix(f"{name}/"): table.numbers(column, pa.float32(), pa.float64(), pa.int64()) for column in own
    }
    observed = values.pop(_OBSERVED)
    best = facts["best_baseline"] if "best_baseline" in facts else facts["line"]  # its name in version 0.1
    if not isinstance(best, str | None):
        raise TypeError(f"{best!r} is no baseline")
    if facts["task"] not in _TASKS:
        raise TypeError(f"{str(facts['task'])[:40]!r} is no task")
    return HeadPredictions(str(facts["task"]), str(facts["metric"]), best, observed, values)
