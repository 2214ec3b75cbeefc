"""A search without training: figures follow from the values, so that a study can be looked at in seconds.

As a program, ``python made_up_search.py STORAGE COUNT`` is a worker that can be killed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from llmrec_peft.errors import InputError
from llmrec_peft.experiment.trials import TrialResult
from llmrec_peft.progress import SILENT
from llmrec_peft.recipe import load_recipe
from llmrec_peft.workflows.search import Search
from llmrec_peft.workflows.study import open_study, require_optuna

SPACE = (
    "tune={training.head.learning_rate: {low: 0.0001, high: 0.1, log: true}, fusion.dim: {low: 8, high: 64},"
    " signals.graph: {choices: [false, {}]}}"
)
EPOCHS = 6


class MadeUpTrials:
    """Stands for `Trials`: its figure is what a function makes of the changes, after epochs that approach it."""

    metric = "rmse"
    lower_is_better = True

    def __init__(self, figure: Callable[[Mapping[str, Any]], float], seconds: float = 0.0) -> None:
        self.recipe = load_recipe("movies", [SPACE])
        self.tried: list[dict[str, Any]] = []
        self._figure, self._seconds = figure, seconds

    def run(self, changes: Mapping[str, Any], name: str, each_epoch: Callable[[float], None]) -> TrialResult:
        self.tried.append(dict(changes))
        figure = self._figure(changes)
        for epoch in range(EPOCHS):
            time.sleep(self._seconds / EPOCHS)
            each_epoch(figure + 1.0 / (1 + epoch))
        return TrialResult(figure, EPOCHS)


def by_rate(changes: Mapping[str, Any]) -> float:
    """The smaller the rate, the better; wide fusions are refused."""
    if changes["fusion.dim"] > 56:
        raise InputError("fusion.dim: too wide for this test")
    return float(changes["training.head.learning_rate"])


def search(storage: str, count: int, trials: MadeUpTrials | None = None) -> tuple[MadeUpTrials, dict[str, Any]]:
    """Search until a study has so many trials; return what was tried here, and the report."""
    require_optuna()
    trials = MadeUpTrials(by_rate) if trials is None else trials
    study = open_study(storage, "made-up", trials.lower_is_better, seed=1)
    searching = Search(trials, SILENT, count)  # type: ignore[arg-type]
    searching.go(study)
    return trials, searching.report(study)


if __name__ == "__main__":
    search(sys.argv[1], int(sys.argv[2]), MadeUpTrials(by_rate, seconds=0.3))
