"""Recommending: what the folds choose is what the run folder answers with, and the report says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_peft import Recommender
from llmrec_peft.artifact.predictions import NAME, read_predictions
from llmrec_peft.experiment import cross_validation, recommending
from llmrec_peft.experiment.choice import Chosen
from llmrec_peft.explanation.explainer import Explainer
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.workflows.evaluate import evaluate
from llmrec_peft.workflows.train import train

FOLDS = {"training.choice": "folds", "training.epochs": 1}
CLICKS = {"head": {"name": "click", "threshold": 4}}


def metrics_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return found


def force(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the choice fall on a model, a variant with a share of three tenths for the baseline, after two folds."""
    choose = recommending.chosen

    def chosen(*given: Any) -> Chosen:
        found = choose(*given)
        candidates = dict(found.candidates)
        if model in candidates:
            own = candidates[model]
            blend = 0.7 * own.alone + 0.3 * found.of_baseline[: len(own.alone)]
            candidates[model] = type(own)(**{**own.__dict__, "share": 0.3, "blend": blend})
        return Chosen(**{**found.__dict__, "model": model, "candidates": candidates})

    monkeypatch.setattr(recommending, "chosen", chosen)
    monkeypatch.setattr(cross_validation, "number_of_folds", lambda valid: 2)


@pytest.mark.parametrize(
    ("forced", "head"),
    [("before", CLICKS), ("collaborative_only", {}), ("after", CLICKS), ("after", {}), ("baseline", {})],
    ids=["frozen-clicks", "without-text-stars", "tuned-clicks", "tuned-stars", "baseline-stars"],
)
@pytest.mark.trains
def test_the_run_folder_answers_as_the_report_says(
    forced: str, head: dict[str, Any], tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    force(forced, monkeypatch)
    changes = {"data.path": "demo", "backbone.name": str(tiny_backbone), "backbone.precision": "fp32", **FOLDS, **head}
    recipe = load_recipe("ecommerce", changes={**changes, "evaluation.bootstrap": 0})
    run = tmp_path / "run"
    metrics = train(recipe, run, show=False)
    assert metrics["recommended"]["model"] == forced
    recommender = Recommender.from_pretrained(run)
    kept = read_predictions(run / NAME)
    scores = recommender.score(kept.user, kept.item)
    np.testing.assert_allclose(scores, next(iter(kept.heads.values())).models["recommended"], atol=1e-5)
    assert evaluate(run)["repeats"]
    served = recommender.recipe.served
    assert served is not None
    assert served.share == (1.0 if forced == "baseline" else 0.3)
    row = next(name for name in metrics["test"]["baselines"] if name.endswith("_by_folds"))
    if forced == "baseline":
        metric = metrics["primary_metric"]
        assert metrics["test"]["recommended"][metric] == pytest.approx(
            metrics["test"]["baselines"][row][metric], abs=1e-5
        )
    assert unexplained(recommender, kept.user[0], kept.item[0]) == pytest.approx(0.0, abs=1e-4)
    assert train(recipe, run, resume=True, show=False) == json.loads(json.dumps(metrics))


def unexplained(recommender: Recommender, user: str, item: str) -> float:
    """The score less all parts that its explanation names."""
    found = Explainer(recommender).explain(user, item)
    return found.raw - sum(found.base.values()) - sum(one.contribution for one in found.of("signal"))


def of_demo(changes: dict[str, Any]) -> Recipe:
    return load_recipe("ecommerce", changes={"data.path": "demo", **changes})


def test_a_recipe_that_a_run_left_is_trained_anew_and_not_as_served(tmp_path: Path) -> None:
    recipe = of_demo({"served": {"variant": "frozen", "share": 1.0, "baseline": "bias"}})
    assert recipe.unserved() == of_demo({})
    assert recipe.unserved().served is None
