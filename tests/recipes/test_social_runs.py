"""Runs of the recipes social on made-up circles of friends: nobody is recommended to himself, no run holds a link."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmrec_recipes.social.demo import demo_found
from quick_runs import Trained
from safetensors.numpy import load_file

from llmrec_peft import Recommender
from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.experiment.prepare import DEMO_SEED
from llmrec_peft.recipe.yaml_file import read_yaml
from llmrec_peft.registry import get


@pytest.fixture(scope="module")
def run(quick_run: Trained) -> Path:
    return quick_run("social", {"training.epochs": 3})


@pytest.fixture(scope="module")
def people(quick_run: Trained) -> Path:
    return quick_run("social-people", {})


def metrics_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def made_up() -> RecDataset:
    data: RecDataset = get("readers", "social").opened().demo(DEMO_SEED)
    return data


def test_nobody_is_recommended_to_himself(people: Path) -> None:
    recommender = Recommender.from_pretrained(people)
    everybody = [f"P{at}" for at in range(1, 121)]
    vocabulary, seen = recommender.tenant.vocabulary, recommender.tenant.seen
    known = {one: set(vocabulary.item_ids(seen.of(at)[0])) for at, one in enumerate(vocabulary.users, start=1)}
    for found in recommender.recommend(everybody, k=30):
        ids = {item.item_id for item in found.items}
        assert found.user_id not in ids
        assert not ids & known[found.user_id]
    again = recommender.recommend(everybody, k=120, seen=True)
    assert all(len(found.items) == 119 for found in again), "everybody else"
    assert all(found.user_id not in {item.item_id for item in found.items} for found in again)
    (stranger,) = recommender.recommend(["nobody"], k=120)
    assert len(stranger.items) == 120


def test_people_have_baselines_of_links_and_what_they_met(people: Path) -> None:
    metrics = metrics_of(people)
    baselines = metrics["test"]["baselines"]
    assert {"common_neighbours", "preference_similarity", "neighbours_and_preferences"} <= set(baselines)
    assert baselines["common_neighbours"]["ndcg@10"] > baselines["popularity"]["ndcg@10"]
    assert any("both directions are in one part" in note for note in metrics["data"]["notes"])
    assert read_yaml(people / "recipe.yaml")["data"]["items_are_users"] is True


def test_a_run_of_people_holds_nothing_that_they_rated(people: Path) -> None:
    tensors = load_file(people / "signals.safetensors")
    assert not [name for name in tensors if name.startswith("features.item")]
    assert b"F17" not in (people / "items.parquet").read_bytes()
    assert b"F17" not in (people / "catalogue.safetensors").read_bytes()


def test_who_rated_nothing_is_known_by_those_whom_he_trusts(run: Path, made_up: RecDataset) -> None:
    recommender = Recommender.from_pretrained(run)
    silent = sorted(set(column(made_up.users, "user_id")) - set(column(made_up.interactions, "user_id")))
    assert len(silent) > 3
    items = list(recommender.tenant.vocabulary.items)
    for one in silent:
        own, average = (recommender.score([who] * len(items), items) for who in (one, "nobody"))
        assert np.abs(own - average).max() > 1e-3
        assert np.ptp(own - average) > 1e-4, "his taste, and not only how generous his friends are"
    assert [found.basis for found in recommender.recommend([silent[0], "nobody"], 3)] == ["personal", "popularity"]


def test_a_run_holds_no_link(run: Path) -> None:
    tensors = {name: value.shape for name, value in load_file(run / "signals.safetensors").items() if "trust" in name}
    assert tensors == {"trust.folded.user": (121, 8), "trust.folded.user_offset": (121,)}
    files = {path.name for path in run.rglob("*") if path.is_file()}
    assert not {name for name in files if "link" in name or "trust" in name}


def test_a_ranking_reads_friends_and_answers_alike_when_it_is_loaded(quick_run: Trained) -> None:
    folder = quick_run("social-ranking", {})
    recommender = Recommender.from_pretrained(folder)
    first, again = (recommender.recommend(["P1", "P2"], 5) for _ in range(2))
    assert first == again
    assert set(recommender.tenant.model.signals) == {"collaborative", "popularity", "trust"}


def test_circles_share_a_taste_and_most_links_stay_inside() -> None:
    found = demo_found(3)
    assert found.network is not None
    circle = {f"P{at + 1}": at // 20 for at in range(120)}
    links = zip(found.network.user.to_pylist(), found.network.other.to_pylist(), strict=True)
    inside = [circle[one] == circle[other] for one, other in links]
    assert np.mean(inside) > 0.7
    assert set(found.titles.to_pylist()) == {""}
