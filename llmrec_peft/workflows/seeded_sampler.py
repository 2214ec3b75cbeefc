"""SeededSampler: Optuna's TPE, seeded anew for each trial, so that what is drawn does not depend on interruptions."""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial


class SeededSampler(BaseSampler):
    """Tree-structured Parzen estimator whose draws follow from the seed, a trial's number and the earlier trials.

    A sampler with one seed would draw its first values again whenever a process is started: the same in every worker,
    and the same after a kill.

    References:
        Bergstra et al., Algorithms for Hyper-Parameter Optimization, NIPS 2011.
    """

    def __init__(self, seed: int) -> None:
        """Remember the seed."""
        self._seed = seed
        self._tpe = self._of(0)

    def _of(self, number: int) -> TPESampler:
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        return TPESampler(seed=seed, constant_liar=True)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the estimator for a trial."""
        self._tpe = self._of(trial.number)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Ask the estimator."""
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Ask the estimator."""
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Ask the estimator."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)
