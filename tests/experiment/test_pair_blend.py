"""Pair blend: what validation chooses for stars and clicks is what the run folder answers with; nothing else moves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_peft import Recommender
from llmrec_peft.artifact.predictions import NAME, read_predictions
from llmrec_peft.evaluation.intervals import PairedInterval
from llmrec_peft.experiment import pair_blend, served_blend, what_answers
from llmrec_peft.experiment.judge import Difference
from llmrec_peft.experiment.recommendation import by_validation
from llmrec_peft.experiment.served_blend import ServedShare
from llmrec_peft.recipe import load_recipe
from llmrec_peft.workflows.evaluate import evaluate
from llmrec_peft.workflows.train import train

CLICKS = {"head": {"name": "click", "threshold": 4}, "evaluation.collaborative_only": False}


def trained(run: Path, backbone: Path, changes: dict[str, Any]) -> dict[str, Any]:
    quick = {"backbone.precision": "fp32", "training.epochs": 1, "evaluation.bootstrap": 0, **changes}
    recipe = load_recipe("ecommerce", changes={"data.path": "demo", "backbone.name": str(backbone), **quick})
    return train(recipe, run, show=False)


def slope_of(recommender: Recommender) -> float:
    """The factor that the run's calibrator puts on log-odds."""
    return float(recommender.model.head.parts["calibration"]["slope"])


@pytest.mark.parametrize(("head", "refit"), [({}, True), (CLICKS, "recount")], ids=["stars-refit", "clicks-recounted"])
@pytest.mark.trains
def test_the_run_folder_answers_as_the_report_says_and_no_other_figure_moves(
    head: dict[str, Any], refit: bool | str, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = 1.0 if head else -1.0
    monkeypatch.setattr(what_answers, "ENOUGH_VALIDATION", 1)
    monkeypatch.setattr(pair_blend, "WEIGHTS", (0.0, 0.3))
    monkeypatch.setattr(served_blend, "paired_interval", lambda *_: PairedInterval(sign, sign - 0.5, sign + 0.5, 9))
    given = {**head, "training.refit": refit}
    alone = trained(tmp_path / "alone", tiny_backbone, {**given, "training.choice": "validation"})
    run = tmp_path / "run"
    metrics = trained(run, tiny_backbone, {**given, "training.choice": "auto"})
    found = metrics["recommended"]
    assert (found["chosen_by"], found["model"], found["share_of_baseline"]) == ("validation", "after", 0.3)
    assert found["says"].startswith("recommended: the tuned model with 30% of the baseline (")
    for part in ("test", "valid"):
        assert {name: row for name, row in metrics[part].items() if name != "recommended"} == alone[part]
        assert metrics[part]["recommended"] != metrics[part]["after"]
    recommender = Recommender.from_pretrained(run)
    kept = read_predictions(run / NAME)
    scores = recommender.score(kept.user, kept.item)
    np.testing.assert_allclose(scores, next(iter(kept.heads.values())).models["recommended"], atol=1e-5)
    assert evaluate(run)["repeats"]
    served = recommender.recipe.served
    assert served is not None
    assert (served.variant, served.share, served.baseline) == ("tuned", 0.3, found["baseline"])
    if head:
        tuned = Recommender.from_pretrained(tmp_path / "alone")
        assert slope_of(recommender) != slope_of(tuned)  # fitted to what the blend says of validation


@pytest.mark.parametrize(
    ("share", "model", "what"),
    [
        (0.3, "after", "the tuned model with 30% of the baseline (biased mf)"),
        (1.0, "baseline", "the baseline alone (biased mf)"),
    ],
)
def test_one_sentence_says_what_is_recommended(share: float, model: str, what: str) -> None:
    gain = Difference(0.0036, 0.0015, 0.0004, 0.0064)
    found = by_validation(ServedShare("biased_mf", {"rank": 8.0}, share, gain, 2840), "rmse")
    assert (found["model"], found["share_of_baseline"], found["baseline"]) == (model, share, "biased_mf")
    assert found["says"] == (
        f"recommended: {what}; better than the tuned model alone by 0.0036 [0.0004, 0.0064] rmse"
        " over 2840 examples of validation, which chose it"
    )


@pytest.mark.parametrize(("gain", "answers"), [(0.2, "after"), (0.3, "recommended")])
@pytest.mark.trains
def test_a_gain_within_a_standard_error_leaves_the_tuned_model_alone(
    gain: float, answers: str, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interval(*_: Any) -> PairedInterval:
        return PairedInterval(-gain, -gain - 0.49, -gain + 0.49, 9)  # a standard error of 0.25

    monkeypatch.setattr(what_answers, "ENOUGH_VALIDATION", 1)
    monkeypatch.setattr(served_blend, "paired_interval", interval)
    run = tmp_path / "run"
    metrics = trained(run, tiny_backbone, {"training.choice": "auto"})
    assert ("recommended" in metrics["test"]) == (answers == "recommended")
    assert (metrics["recommended"]["share_of_baseline"] > 0.0) == (answers == "recommended")
    assert metrics == json.loads((run / "metrics.json").read_text(encoding="utf-8"))
