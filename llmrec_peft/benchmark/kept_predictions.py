"""Kept predictions: those of a report's rows, found beside it, and the figures that follow from them."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from llmrec_peft.benchmark.cells import titled
from llmrec_peft.benchmark.rows import Row
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.evaluation.impression_metrics import IMPRESSION_METRICS
from llmrec_peft.evaluation.measures import measure_of
from llmrec_peft.workflows.compare import METRICS, Run, examples_of, outcome_of

FOLDER = "predictions"
"""Folder beside a report that holds a folder for each cell."""
_MOST = 20_000
"""Entries of that folder that are looked at."""


class KeptPredictions:
    """The predictions beside a report.

    Args:
        folder: Folder that holds the report, and `FOLDER` if predictions were kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._names: list[str] = []
        if self._folder.is_dir() and not self._folder.is_symlink():
            with os.scandir(self._folder) as entries:
                some = itertools.islice(entries, _MOST)
                self._names = sorted(entry.name for entry in some if entry.is_dir(follow_symlinks=False))

    def of(self, row: Row) -> Path | None:
        """Return the folder with a row's predictions; None where there is none.

        Raises:
            InputError: If several could be meant.
        """
        plain = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in titled(row["axes"]))
        pattern = re.compile(rf"{re.escape(plain[-120:].strip('-.'))}-[0-9a-f]{{8}}")
        found = [name for name in self._names if pattern.fullmatch(name)]
        if len(found) > 1:
            raise InputError(f"{self._folder}: {' and '.join(found[:3])} could be those of {titled(row['axes'])}")
        return self._folder / found[0] if found else None


def recomputed(run: Run) -> dict[str, dict[str, float]]:
    """Return the figures that follow from a run's predictions of its primary head, by model and metric.

    Metrics that need more than predictions, such as the coverage of a catalogue, are left out.

    Raises:
        InputError: If a metric cannot be computed from them.
    """
    said = run.head(None)
    examples = examples_of(run.predictions, said)
    measure, even = measure_of(said.task, lambda label: label, np.zeros(1, np.int64)), np.ones(len(examples))
    metrics = [name for name in METRICS[said.task] if examples.impression is not None or name not in IMPRESSION_METRICS]
    found: dict[str, dict[str, float]] = {}
    for model in said.models:
        try:
            figures = {name: measure.weighted(name, outcome_of(said, model), examples)(even) for name in metrics}
        except (ValueError, IndexError) as error:
            raise InputError(f"{run.folder}: {model}: {reason_of(error)}") from None
        found[model] = {name: float(figure) for name, figure in figures.items()}
    return found


def primary(run: Run) -> dict[str, Any]:
    """Return what a run's predictions say of its primary head: metric, best baseline, and the number of examples."""
    said = run.head(None)
    return {"metric": said.metric, "best_baseline": said.best_baseline, "n": len(run.predictions)}
