"""Runs of games, music and video on made-up data: they rank, weigh by confidence, recommend and explain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick_runs import Trained

from llmrec_peft import Recommender
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.explanation.explainer import Explainer
from llmrec_peft.recipe import load_recipe

pytestmark = pytest.mark.trains

CHANGES: dict[str, dict[str, Any]] = {
    "games": {},
    "music": {},
    "video": {"signals.history.projection": "linear"},  # the tiny encoder is narrower than the fusion
}


@pytest.fixture(scope="module", params=list(CHANGES))
def run(request: pytest.FixtureRequest, quick_run: Trained) -> Path:
    return quick_run(str(request.param), {"training.epochs": 2, **CHANGES[request.param]})


def metrics_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_every_model_and_baseline_ranks_the_catalogue(run: Path) -> None:
    test = metrics_of(run)["test"]
    assert metrics_of(run)["primary_metric"] == "ndcg@10"
    assert {"popularity", "neighbour_counts", "text_cosine", "counts_and_text"} <= set(test["baselines"])
    assert 0.0 < test["after"]["ndcg@10"] < 1.0


def test_what_a_user_has_is_not_recommended_again_and_the_rest_is_explained(run: Path) -> None:
    recommender = Recommender.from_pretrained(run)
    (found,) = recommender.recommend(["1"], 5)
    tenant = recommender.tenant
    (own,) = tenant.vocabulary.user_indices(["1"]).tolist()
    met = tenant.vocabulary.item_ids(tenant.seen.of(own)[0])
    assert met
    assert not {one.item_id for one in found.items} & set(met)
    explained = Explainer(recommender).explain("1", found.items[0].item_id)
    parts = sum(explained.base.values()) + sum(one.contribution for one in explained.of("signal"))
    assert parts == pytest.approx(explained.raw, abs=1e-4)


@pytest.mark.parametrize("name", ["games", "music"])
def test_confidence_changes_what_is_learnt_and_only_where_it_is_asked_for(name: str, quick_run: Trained) -> None:
    plain = quick_run(name, {"training.epochs": 2})
    weighed = quick_run(name, {"training.epochs": 2, "head.confidence_alpha": 1.0})
    figures = [metrics_of(run)["test"]["after"]["mrr"] for run in (plain, weighed)]
    assert figures[0] != figures[1]
    counted = ("popularity", "neighbour_counts", "counts_and_text")
    told = [{name: metrics_of(run)["test"]["baselines"][name] for name in counted} for run in (plain, weighed)]
    assert told[0] == told[1]


def test_nothing_of_a_later_moment_stands_in_a_history() -> None:
    prepared = prepare(load_recipe("video", changes={"data.path": "demo"}))
    numbers = prepared.interactions
    assert numbers.history is not None
    for row in np.arange(len(numbers)).tolist():
        items = numbers.history.of(row)[0]
        earlier = numbers.item[(numbers.user == numbers.user[row]) & (numbers.timestamp < numbers.timestamp[row])]
        assert set(items.tolist()) <= set(earlier.tolist())
