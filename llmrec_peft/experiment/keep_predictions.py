"""Keep predictions: what every model of a run said of each test example, beside the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.artifact.predictions import NAME, HeadPredictions, Predictions, write_predictions
from llmrec_peft.evaluation.measures import ClickMeasure
from llmrec_peft.evaluation.outcomes import Outcome, Ranks
from llmrec_peft.experiment.head_outcomes import HeadOutcomes
from llmrec_peft.experiment.prepared import Prepared


def keep_predictions(folder: Path, heads: Mapping[str, HeadOutcomes], prepared: Prepared) -> None:
    """Write the outcomes of all models and baselines on test into a run's folder.

    Args:
        folder: The folder.
        heads: What was predicted under each head.
        prepared: Data.
    """
    test = prepared.test
    found = {}
    for name, head in heads.items():
        outcomes = {**head.test, **{baseline.name: baseline.test for baseline in head.baselines}}
        best = head.best_baseline
        found[name] = HeadPredictions(
            task=head.task,
            metric=head.metric,
            best_baseline=None if best is None else best.name,
            observed=head.measure.observe(test.label) if isinstance(head.measure, ClickMeasure) else test.label,
            models={model: _plain(outcome) for model, outcome in outcomes.items()},
        )
    users, items = prepared.ids(test)
    write_predictions(folder / NAME, Predictions(users, items, test.label, found, test.person, test.impression))


def _plain(outcome: Outcome) -> NDArray[np.floating]:
    return outcome.rank if isinstance(outcome, Ranks) else np.asarray(outcome)
