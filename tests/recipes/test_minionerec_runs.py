"""Runs of the recipe minionerec on made-up purchases: what was counted is in the folder, and it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick_runs import Trained
from safetensors.numpy import load_file

from llmrec_peft import Recommender

SMALL: dict[str, Any] = {
    "fusion.dim": 16,
    "signals.history.projection": "linear",
    "evaluation.collaborative_only": False,
    "training.epochs": 2,
}


@pytest.fixture(scope="module")
def run(quick_run: Trained) -> Path:
    return quick_run("minionerec", SMALL)


@pytest.fixture(scope="module")
def metrics(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_learnt_weights_are_reported_and_the_baseline_of_sequences_is_there(metrics: dict[str, Any]) -> None:
    weights = metrics["weights"]
    assert set(weights["transitions"]) == {"weight", "later", "earlier", "power", "place", "links"}
    assert weights["transitions"]["weight"] > 0.0
    assert weights["words"]["links"] > 0
    assert "transitions_and_words" in metrics["test"]["baselines"]


def test_what_follows_what_was_learnt_from_made_up_families(metrics: dict[str, Any]) -> None:
    test = metrics["test"]
    assert test["after"]["ndcg@10"] > 2.0 * test["baselines"]["popularity"]["ndcg@10"]


def test_a_run_has_sums_of_pairs_and_no_sequence(run: Path) -> None:
    tensors = {name: value for file in run.glob("**/*.safetensors") for name, value in load_file(file).items()}
    named = [name for name in tensors if "transitions" in name]
    assert {name.rpartition("transitions.")[2] for name in named} == {
        *("entries.place", "weights.scale", "weights.step", "weights.power"),
        *("folded.begin", "folded.item", "folded.value"),
    }


def test_a_run_answers_for_histories_of_the_moment(run: Path) -> None:
    recommender = Recommender.from_pretrained(run)
    items = [item.item_id for item in recommender.recommend(["A000000000001"], 5)[0].items]
    assert len(set(items)) == 5
    scores = recommender.score(["nobody", "nobody"], items[:2], histories=[[], [(items[2], 1.0)]])
    assert np.isfinite(scores).all()
