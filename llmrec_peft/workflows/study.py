"""Study: the trials of one search in a storage of Optuna, which several processes share and a kill leaves whole."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import shown

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

    from llmrec_peft.recipe.search_space import SearchedField

DEFAULT = "default"
"""Attribute of the trial with the recipe's own values."""
_ATTEMPTS = 5
"""Attempts to create the tables of a storage, which several processes may begin at once."""
_LEAST = 4
"""Whole trials from which importances are computed."""
_LOCKED_SECONDS = 120
"""How long a process waits for another one's transaction in SQLite."""


def require_optuna() -> None:
    """Refuse to search where Optuna is not installed.

    Raises:
        InputError: Saying how to install it.
    """
    try:
        import optuna
    except ImportError:
        raise InputError("llmrec tune searches with Optuna: pip install 'llmrec-peft[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextmanager
def storage_errors(storage: str) -> Iterator[None]:
    """Turn what a database or its driver says into one line; passwords are not repeated.

    Raises:
        InputError: Naming the storage.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which of Optuna's functions are experimental
        try:
            yield
        except (SQLAlchemyError, StorageInternalError, ImportError, ValueError) as error:
            cause = error.__cause__ or error
            original = getattr(cause, "orig", None) or cause
            raise InputError(f"--storage {public_url(storage)}: {reason_of(original)}") from error


def public_url(storage: str) -> str:
    """Return a storage's URL without its password, printable."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return shown(make_url(storage).render_as_string(hide_password=True))
    except (ArgumentError, ValueError):
        return "URL" if "@" in storage else shown(storage)


def open_study(storage: str, name: str, lower_is_better: bool, seed: int) -> Study:
    """Open the study of a name in a storage, or create it.

    Args:
        storage: URL of a database, such as ``sqlite:///search.db``.
        name: Name of the study.
        lower_is_better: Direction of the figure.
        seed: Seed of the values that are drawn.

    Raises:
        InputError: When the storage cannot be opened.
    """
    import optuna
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import IntegrityError, OperationalError

    from llmrec_peft.workflows.seeded_sampler import SeededSampler

    options = {"connect_args": {"timeout": _LOCKED_SECONDS}} if storage.startswith("sqlite:") else {}
    with storage_errors(storage):
        if "://" not in storage:
            raise ValueError("no URL of a database, such as sqlite:///search.db")
        for attempt in range(_ATTEMPTS):
            try:
                return optuna.create_study(
                    storage=optuna.storages.RDBStorage(storage, engine_kwargs=options),
                    sampler=SeededSampler(seed),
                    pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
                    study_name=name,
                    direction="minimize" if lower_is_better else "maximize",
                    load_if_exists=True,
                )
            except (IntegrityError, OperationalError, StorageInternalError) as error:  # others open it at the same time
                if attempt + 1 == _ATTEMPTS or "unable to open" in str(error):
                    raise
                time.sleep(0.2 * 2**attempt)
    raise AssertionError("unreachable")


def drawn(trial: Trial, space: Mapping[str, SearchedField], own: Mapping[str, Any]) -> dict[str, Any]:
    """Draw a value for each field of a search space.

    Args:
        trial: Trial that they are drawn for.
        space: Values by dotted field.
        own: The recipe's own values; where one is a whole number, whole numbers are drawn.
    """
    values: dict[str, Any] = {}
    for field, searched in space.items():
        if searched.choices:
            values[field] = json.loads(trial.suggest_categorical(field, [_text(one) for one in searched.choices]))
        elif isinstance(own[field], int):
            values[field] = trial.suggest_int(field, int(searched.low or 0), int(searched.high or 0), log=searched.log)
        else:
            low, high = float(searched.low or 0.0), float(searched.high or 0.0)
            values[field] = trial.suggest_float(field, low, high, log=searched.log)
    return values


def enqueue_default(study: Study, space: Mapping[str, SearchedField], own: Mapping[str, Any]) -> None:
    """Let the next trial have the recipe's own values."""
    values = {field: _text(value) if space[field].choices else value for field, value in own.items()}
    study.enqueue_trial(values, user_attrs={DEFAULT: True})


def values_of(trial: FrozenTrial, space: Mapping[str, SearchedField]) -> dict[str, Any]:
    """Return the values of a trial by dotted field, as a recipe takes them."""
    return {name: json.loads(value) if space[name].choices else value for name, value in trial.params.items()}


def importances(study: Study) -> dict[str, float]:
    """Return the share of each field in how trials differ, the largest first (PED-ANOVA).

    Empty with fewer than four whole trials, or where all reached the same.

    References:
        Watanabe et al., PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces,
        IJCAI 2023.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    whole = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(whole) < _LEAST or len({trial.value for trial in whole}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))


def _text(value: Any) -> str:
    """A choice as Optuna stores it: blocks and lists are no values there."""
    return json.dumps(value, sort_keys=True)
