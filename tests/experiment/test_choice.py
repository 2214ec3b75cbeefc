"""Choice: noise never displaces the baseline, what is clearly better does, and of two alike the simpler one stays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.foldable import foldable_baselines
from llmrec_peft.evaluation.measures import measure_of
from llmrec_peft.experiment.choice import (
    BASELINE,
    Candidate,
    best_blend,
    candidate_of,
    chosen,
    shrunk_share,
    vain,
)
from llmrec_peft.experiment.cross_validation import Folds, OutOfFold
from llmrec_peft.experiment.judge import Difference, Judge
from llmrec_peft.experiment.recommendation import by_folds, sentence

ROWS, FOLDS = 900, 3


class World:
    """Labels with a known expectation, three folds of them, and models that miss it by so much."""

    def __init__(self, task: str, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.task = task
        self.truth = self.rng.normal(0.0, 1.0, ROWS)
        if task == "rating":
            self.label = 3.0 + self.truth + self.rng.normal(0.0, 0.5, ROWS)
        else:
            self.label = (self.rng.random(ROWS) < 1.0 / (1.0 + np.exp(-2.0 * self.truth))).astype(float)
        names = self.rng.integers(1, 60, (2, ROWS))
        asked = Interactions(names[0], names[1], self.label.astype(np.float32), np.arange(ROWS))
        bounds = np.linspace(0, ROWS, FOLDS + 1).astype(np.int64)
        self.folds = Folds(cast(Any, (SimpleNamespace(),) * FOLDS), asked, bounds)
        measure = measure_of(task, lambda label: label, np.zeros(1, np.int64))
        self.judge = Judge(self.folds, measure, "rmse" if task == "rating" else "auc", (-9.0, 15.0), task, self.label)
        self.baseline = foldable_baselines(task)[0]

    def model(self, miss: float) -> np.ndarray[Any, Any]:
        """Scores that miss the expectation by normal noise of this deviation."""
        middle = 3.0 if self.task == "rating" else 0.0
        return np.asarray(middle + self.truth + self.rng.normal(0.0, miss, ROWS))

    def candidate(self, name: str, baseline: np.ndarray[Any, Any], *epochs: np.ndarray[Any, Any]) -> Candidate:
        return candidate_of(name, OutOfFold(np.stack(epochs), FOLDS, 0.0), baseline, self.judge)


@pytest.mark.parametrize("task", ["rating", "click"])
def test_a_model_that_is_clearly_better_is_chosen_with_its_best_epoch(task: str) -> None:
    world = World(task)
    baseline = world.model(3.0)
    own = world.candidate("after", baseline, world.model(3.0), world.model(0.1), world.model(2.0))
    found = chosen(world.baseline, baseline, {"after": own}, world.judge, FOLDS)
    assert (found.model, own.epochs) == ("after", 2)
    assert found.share < 0.2
    assert own.over_baseline.low > 0.0


@pytest.mark.parametrize("task", ["rating", "click"])
def test_a_worse_model_leaves_the_baseline_alone(task: str) -> None:
    world = World(task)
    baseline = world.model(0.05)
    own = world.candidate("after", baseline, world.model(4.0))
    found = chosen(world.baseline, baseline, {"after": own}, world.judge, FOLDS)
    assert (found.model, found.share) == (BASELINE, 1.0)
    assert "baseline" in sentence(found)


def test_noise_on_top_of_the_baseline_is_rarely_chosen() -> None:
    taken = 0
    for seed in range(12):
        world = World("rating", seed)
        baseline = world.model(0.5)
        noisy = [baseline + world.rng.normal(0.0, 0.3, ROWS) for _ in range(10)]
        own = world.candidate("after", baseline, *noisy)
        taken += chosen(world.baseline, baseline, {"after": own}, world.judge, FOLDS).model != BASELINE
    assert taken <= 2  # ten epochs of noise, the best of them picked


def test_of_two_models_alike_the_simpler_one_is_chosen() -> None:
    world = World("rating")
    baseline, frozen = world.model(2.0), world.model(0.3)
    tuned = frozen + world.rng.normal(0.0, 0.01, ROWS)
    named = {"before": world.candidate("before", baseline, frozen), "after": world.candidate("after", baseline, tuned)}
    found = chosen(world.baseline, baseline, named, world.judge, FOLDS)
    assert found.model == "before"
    assert "standard error" in found.reasons["after"]


def test_a_blend_is_found_that_is_better_than_both_sides() -> None:
    world = World("rating")
    baseline, own = world.model(0.6), world.model(0.6)
    out = OutOfFold(own[None, :], FOLDS, 0.0)
    epoch, share = best_blend(out, baseline, world.judge)
    assert (epoch, share) == (0, pytest.approx(0.5, abs=0.11))
    candidate = candidate_of("after", out, baseline, world.judge)
    assert share <= candidate.share < 1.0  # shrunk towards the baseline
    assert candidate.figure < min(candidate.baseline_figure, candidate.alone_figure)


def test_a_share_is_shrunk_to_the_baseline_by_how_unsure_its_gain_is() -> None:
    shares = [shrunk_share(0.3, Difference(gain, 0.01, 0.0, 0.0)) for gain in (-0.02, 0.0, 0.01, 0.015, 0.03, 1.0)]
    assert shares == sorted(shares, reverse=True)
    assert shares[:3] == [1.0, 1.0, 1.0]
    assert shares[-1] == pytest.approx(0.3, abs=1e-3)


def test_further_folds_are_vain_where_nothing_is_gained_and_not_where_much_is() -> None:
    world = World("rating")
    baseline = world.model(1.0)
    is_vain = vain(baseline, world.judge)
    first = slice(0, int(world.folds.bounds[1]))
    assert is_vain(OutOfFold((baseline + 0.5)[None, first], 1, 0.0), FOLDS)
    assert not is_vain(OutOfFold(world.model(0.1)[None, first], 1, 0.0), FOLDS)


def test_what_cannot_be_served_and_is_better_on_validation_is_said() -> None:
    world = World("rating")
    baseline = world.model(0.5)
    own = world.candidate("after", baseline, world.model(3.0))
    found = chosen(world.baseline, baseline, {"after": own}, world.judge, FOLDS)
    valid = {"recommended": 1.0, "after": 0.5, "bias": 0.9, "neighbours": 0.8}
    told = by_folds(found, valid, ["bias"])
    assert told["better_on_validation_but_not_served"] == ["neighbours"]
    assert "neighbours" in told["says"]
    assert told["candidates"]["after"]["earns_its_place"] is False
