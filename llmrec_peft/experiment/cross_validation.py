"""Cross-validation: what a variant, and each foldable baseline, predicts for examples that it did not learn from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.foldable import Foldable, foldable_baselines
from llmrec_peft.experiment.fitting import trained
from llmrec_peft.experiment.folds import fold_of, folds_of, number_of_folds
from llmrec_peft.experiment.pair_answers import Raw, fit_arguments, raw_scores, uncalibrated

if TYPE_CHECKING:
    from llmrec_peft.experiment.experiment import Experiment
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.model import RecModel
    from llmrec_peft.recipe import Recipe

MOST_TUNED = 3
"""Folds on which a variant with an adapter is trained, at most: it costs many times what the others cost."""


@dataclass(frozen=True)
class Folds:
    """The folds of one run and what they predict.

    Attributes:
        parts: The data, divided by each fold.
        asked: The examples that all folds predict, fold after fold.
        bounds: Where each fold's examples begin among them, and where the last one's end, [folds + 1].
    """

    parts: tuple[Prepared, ...]
    asked: Interactions
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, prepared: Prepared) -> Folds:
        """Divide training + validation as often as it takes to predict enough examples."""
        section, split = prepared.recipe.data, prepared.split
        count = number_of_folds(len(split.valid))
        found = folds_of(prepared.interactions, split, section.split, count, section.split_seed)
        sizes = [0, *(len(fold.ask) for fold in found)]
        asked = prepared.interactions.take(np.concatenate([fold.ask for fold in found]))
        return cls(tuple(fold_of(prepared, fold) for fold in found), asked, np.cumsum(sizes))

    def __len__(self) -> int:
        return len(self.parts)


@dataclass(frozen=True)
class OutOfFold:
    """What one model predicted for the folds' examples, each by a fit that had not learned from it.

    Attributes:
        scores: After each epoch, float64 [epochs, examples of `folds` folds]; one row for a baseline.
        folds: Number of folds, the first ones.
        seconds: What it took.
    """

    scores: NDArray[np.float64]
    folds: int
    seconds: float


def predicted_by_baselines(folds: Folds, head: str) -> list[tuple[Foldable, OutOfFold]]:
    """Predict every fold's examples with every foldable baseline of a head's task."""
    first = folds.parts[0]
    found = []
    learned = [fit_arguments(part.train, part) for part in folds.parts]
    for baseline in foldable_baselines(str(first.recipe.reads.heads[head].task)):
        scores = [
            baseline.fit(*given).predict(part.valid.user, part.valid.item)
            for given, part in zip(learned, folds.parts, strict=True)
        ]
        found.append((baseline, OutOfFold(np.concatenate(scores)[None, :], len(folds), 0.0)))
    return found


def predicted_by_variant(
    experiment: Experiment,
    folds: Folds,
    recipe: Recipe,
    name: str,
    title: str,
    vain: Callable[[OutOfFold, int], bool],
) -> OutOfFold:
    """Train a variant on every fold and predict the fold's examples after each epoch.

    Epochs that not every fold reached, since one stopped earlier, are left out.

    Args:
        experiment: What all fits of the run share.
        folds: The divisions.
        recipe: Variant.
        name: Folder of its checkpoints.
        title: Its name on the progress bars.
        vain: Whether what was predicted so far makes further folds vain; asked with the number of all folds.
    """
    count = min(len(folds), MOST_TUNED) if recipe.adapter.method != "none" else len(folds)
    found: list[NDArray[np.float64]] = []
    seconds = 0.0
    for number, part in enumerate(folds.parts[:count]):
        watch = _Recorder(part, recipe.head.name)
        where = f"{name}/fold-{number + 1}"
        # what is predicted after an epoch lies in no checkpoint: a fold that was interrupted begins anew
        shutil.rmtree(experiment.folder / where, ignore_errors=True)
        inside = replace(experiment, prepared=part)
        _, fitted = trained(inside, recipe, where, f"{title} fold {number + 1}/{count}", part.train, watch)
        shutil.rmtree(experiment.folder / where, ignore_errors=True)
        found.append(np.stack(watch.scores))
        seconds += fitted.seconds
        least = min(map(len, found))
        out = OutOfFold(np.concatenate([one[:least] for one in found], axis=1), number + 1, seconds)
        if number + 1 < count and vain(out, count):
            break
    return out


class _Recorder:
    """Scores a fold's examples after each epoch, keeps them, and returns the figure that stops the fit."""

    def __init__(self, part: Prepared, head: str) -> None:
        self._part, self._head = part, head
        self.metric = str(part.recipe.reads.heads[head].metric)
        self.scores: list[Raw] = []

    def __call__(self, model: RecModel) -> float:
        raw = raw_scores(model, self._part.valid, self._head)
        self.scores.append(raw)
        answers = uncalibrated(raw, self._part, self._head)
        return self._part.measures[self._head].report(answers, self._part.valid)[self.metric]
