"""Decisions: what validation chooses for the model of the first fit is what the refit model has, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from worlds import made_up_likes, write_likes

from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.experiment.blending import Blend
from llmrec_peft.experiment.decisions import Calibrators, LateWeights, Validation
from llmrec_peft.experiment.fitting import new_model
from llmrec_peft.experiment.prepare import Prepared, prepare
from llmrec_peft.model import RecModel
from llmrec_peft.recipe import load_recipe

Make = Callable[..., tuple[Prepared, RecModel, RecModel]]


@pytest.fixture
def models(tmp_path: Path) -> Make:
    """Two models of one recipe that were not trained, other numbers in each."""
    data = write_likes(tmp_path / "data", made_up_likes())

    def make(**changes: Any) -> tuple[Prepared, RecModel, RecModel]:
        signals = {"collaborative": {}, "popularity": {}}
        given = {"data.path": str(data), "signals": signals, "adapter": {"method": "none"}, "fusion.dim": 4}
        given |= {name.replace("__", "."): value for name, value in changes.items()}
        prepared = prepare(load_recipe("collm-ml-1m", changes=given))
        pair = []
        for seed in (1, 2):
            recipe = prepared.recipe.changed({"seed": seed})
            model = new_model(recipe, prepared, prepared.train, None)
            torch.manual_seed(seed)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.normal_()
            pair.append(model.eval())
        return prepared, pair[0], pair[1]

    return make


def figure_of(model: RecModel, prepared: Prepared) -> Callable[[], float]:
    measure = prepared.measures["click"]
    return lambda: measure.report(model.scores(prepared.valid, "click"), prepared.valid)["auc"]


def test_late_weights_are_chosen_on_the_first_model_and_copied_into_the_second(models: Make) -> None:
    prepared, first, second = models(fusion__kind="late")
    before = figure_of(first, prepared)()
    decision = LateWeights()
    decision.choose(Validation(first, prepared, "auc", figure_of(first, prepared)))
    assert figure_of(first, prepared)() > before
    assert not torch.equal(first.fusion.weights, second.fusion.weights)
    decision.keep(second)
    assert torch.equal(first.fusion.weights, second.fusion.weights)


def test_other_fusions_have_nothing_to_choose_nor_to_keep(models: Make) -> None:
    prepared, first, second = models(fusion__kind="gated")
    states = [{name: one.clone() for name, one in model.trained_state().items()} for model in (first, second)]
    decision = LateWeights()
    decision.choose(Validation(first, prepared, "auc", lambda: pytest.fail("no figure is needed")))
    decision.keep(second)
    for model, state in zip((first, second), states, strict=True):
        assert all(torch.equal(one, state[name]) for name, one in model.trained_state().items())


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_calibrators_alone_are_copied_and_outcomes_follow_them(kind: str, models: Make) -> None:
    prepared, first, second = models(head={"name": "click", "calibration": kind})
    validation = Validation(first, prepared, "auc", figure_of(first, prepared))
    raw = np.asarray(validation.outcome("click"))
    assert validation.outcome("click") is validation.outcome("click"), "nothing is predicted twice"
    own = {name: one.clone() for name, one in second.trained_state().items()}
    decision = Calibrators(prepared)
    decision.choose(validation)
    calibrated = np.asarray(validation.outcome("click"))
    loss = {
        name: float(np.mean((said - prepared.valid.label) ** 2)) for name, said in (("raw", raw), ("fit", calibrated))
    }
    assert loss["fit"] < loss["raw"]
    decision.keep(second)
    fitted = first.trained_state()
    changed = {name for name, one in second.trained_state().items() if not torch.equal(one, own[name])}
    assert changed == {name for name in own if ".calibration." in name}
    assert all(torch.equal(second.trained_state()[name], fitted[name]) for name in changed)


def test_blend_keeps_its_share_whatever_the_final_model_is(models: Make) -> None:
    prepared, first, second = models()
    noise = np.random.default_rng(0)
    likely = [
        np.clip(part.label * 0.6 + 0.2 + noise.normal(0, 0.1, len(part)), 0.01, 0.99)
        for part in (prepared.valid, prepared.test)
    ]
    blend = Blend("click", prepared, Baseline("made_up", {}, likely[0], likely[1]))
    assert blend.share is None
    blend.choose(Validation(first, prepared, "auc", figure_of(first, prepared)))
    share = blend.share
    assert share is not None
    assert share.value > 0.5, "the model knows nothing"
    blend.keep(second)
    assert blend.share is share
    measure = prepared.measures["click"]
    alone = second.scores(prepared.test, "click")
    blended = blend.test(second, alone, share)
    assert measure.report(blended, prepared.test)["auc"] > measure.report(alone, prepared.test)["auc"]
