"""Search: trials of a study, one after the other, until there are enough; the report of all of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from llmrec_peft.errors import InputError
from llmrec_peft.experiment.trials import Trials
from llmrec_peft.progress import Progress
from llmrec_peft.recipe.checked_space import require_space
from llmrec_peft.workflows.study import DEFAULT, drawn, enqueue_default, importances, values_of

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

_REASON, _EPOCHS, _SECONDS = "reason", "epochs", "seconds"
"""Attributes of trials."""


class Search:
    """Runs trials until a study has enough of them."""

    def __init__(self, trials: Trials, progress: Progress, count: int) -> None:
        """Look at the search space.

        Args:
            trials: Trains recipes.
            progress: Where trials are noted.
            count: Trials that the study has at the end; more where several processes share it.

        Raises:
            InputError: If none of the searched fields is in use, such as those of a signal that the data cannot feed.
        """
        self._trials, self._progress, self._count = trials, progress, count
        recipe = trials.recipe
        self._own = require_space(recipe)
        self._space = {field: recipe.tune[field] for field in self._own}
        for field in recipe.tune.keys() - self._own.keys():
            progress.note(f"tune.{field} is not searched: it is no field of the adapter, the head or a signal in use")

    def go(self, study: Study) -> None:
        """Run trials, the recipe's own values first."""
        from optuna.trial import TrialState

        while True:
            trials = study.get_trials(deepcopy=False)
            enough = sum(trial.state.is_finished() and trial.state != TrialState.FAIL for trial in trials)
            states = {trial.state for trial in trials if _is_default(trial)}
            if TrialState.COMPLETE in states and enough >= self._count:
                return
            alive = {TrialState.WAITING, TrialState.COMPLETE}
            if enough < self._count:
                alive.add(TrialState.RUNNING)  # in another process, or in one that was killed
            if not states & alive:
                enqueue_default(study, self._space, self._own)
            study.optimize(self._objective, n_trials=1)

    def _objective(self, trial: Trial) -> float:
        """Train one recipe; what cannot be trained counts as worse than everything."""
        from optuna import TrialPruned

        started, reached = time.monotonic(), list[float]()
        is_default = DEFAULT in trial.user_attrs

        def each_epoch(figure: float) -> None:
            reached.append(figure)
            trial.report(figure, len(reached))
            if not is_default and trial.should_prune():
                raise TrialPruned

        name = f"trial {trial.number}"
        try:
            result = self._trials.run(drawn(trial, self._space, self._own), name, each_epoch)
        except TrialPruned:
            self._progress.note(f"{name}: ended after {len(reached)} epochs, worse than the median")
            raise
        except InputError as error:
            if is_default:
                raise
            trial.set_user_attr(_REASON, str(error))
            self._progress.note(f"{name}: {error}")
            raise TrialPruned from None
        finally:
            trial.set_user_attr(_SECONDS, round(time.monotonic() - started, 3))
            trial.set_user_attr(_EPOCHS, len(reached))
        trial.set_user_attr(_EPOCHS, result.epochs)
        self._progress.note(f"{name}: {self._trials.metric} {result.figure:.4f}")
        return result.figure

    def report(self, study: Study) -> dict[str, Any]:
        """Return the trials and the best of them; of equal ones the recipe's own values, then the earliest."""
        from optuna.trial import TrialState

        trials, lower = study.get_trials(deepcopy=False), self._trials.lower_is_better
        whole = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]

        def order(trial: FrozenTrial) -> tuple[float, bool, int]:
            value = float(trial.value or 0.0)
            return (value if lower else -value, not _is_default(trial), trial.number)

        default = next(trial for trial in whole if _is_default(trial))
        return {
            "study": study.study_name,
            "metric": self._trials.metric,
            "lower_is_better": lower,
            "part": "validation",
            "default": self._row(default),
            "best": self._row(min(whole, key=order)),
            "importances": importances(study),
            "trials": [self._row(trial) for trial in trials],
        }

    def _row(self, trial: FrozenTrial) -> dict[str, Any]:
        attributes = trial.user_attrs
        return {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "default": _is_default(trial),
            "figure": trial.value if trial.state.name == "COMPLETE" else None,
            "epochs": attributes.get(_EPOCHS),
            "seconds": attributes.get(_SECONDS),
            "values": values_of(trial, self._space),
            **({"reason": attributes[_REASON]} if _REASON in attributes else {}),
        }


def _is_default(trial: FrozenTrial) -> bool:
    return DEFAULT in trial.user_attrs
