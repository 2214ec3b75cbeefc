"""Joint heads: several questions on one backbone and adapter, each measured by its own task beside its own lines."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resealed import resealed
from worlds import fitted, said_of_test

from llmrec_peft.artifact.predictions import NAME, read_predictions
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.compare import compare
from llmrec_peft.workflows.evaluate import evaluate

USERS, ITEMS, KINDS, MET = 40, 40, 4, 8
GROUPS = ("adapter", "embeddings", "head")
STARS: dict[str, Any] = {"data.train_size": 400, "data.split": "random", "training.batch_size": 32}
RETRIEVAL: dict[str, Any] = {"name": "retrieval", "weight": 0.3, "positive_from": 4}
LIKES: dict[str, Any] = {
    "data.train_size": 300,
    "adapter": {"method": "lora"},
    "signals": {"text": {}, "history": {}},
    "heads": ["click", {"name": "ranking", "positive_from": 1, "negatives": "catalogue"}],
}


@pytest.fixture(scope="module")
def two_sided(movielens_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, float]]:
    """Fit heads on the world, each choice of them once, and say how they do.

    That is the RMSE, and how often an item is among the first ten of forty.
    """
    folder, known = tmp_path_factory.mktemp("two-sided"), dict[str, dict[str, float]]()
    base: dict[str, Any] = {
        "data.path": str(movielens_world),
        "signals": {"collaborative": {"user_history": "implicit", "item_history": "none"}},
        "adapter.method": "none",
        "fusion.dim": 8,
        "training.batching": "random",
        "training.batch_size": 32,
        "training.epochs": 20,
        "training.patience": None,
        "training.average": 0.0,
        "training.refit": False,
        **{f"training.{group}": {"learning_rate": 0.02, "weight_decay": 0.0} for group in GROUPS},
    }

    def figures(heads: list[Any], rate: float = 0.02) -> dict[str, float]:
        key = json.dumps([heads, rate])
        if key not in known:
            known[key] = fit(heads, folder / str(len(known)), rate)
        return known[key]

    def fit(heads: list[Any], folder: Path, rate: float) -> dict[str, float]:
        rates = {f"training.{group}.learning_rate": rate for group in GROUPS}
        recipe: Recipe = load_recipe("movies", changes={**base, "heads": heads, **rates})
        recipe, prepared, model = fitted(recipe, folder)
        found = {}
        for head in model.model.heads:
            said: Any = said_of_test(recipe, prepared, model, head)
            if head == "rating":
                found[head] = float(np.sqrt(np.mean((said - prepared.test.label) ** 2)))
            else:
                found[head] = float((said.rank <= 10).mean())
        return found

    return figures


@pytest.fixture(scope="module")
def movielens_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of four kinds: each user meets those of one alone, and half of the films are liked by all who do."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("world")
    genres = ["unknown", "Action", "Comedy", "Drama", *[f"G{number}" for number in range(15)]]
    (folder / "u.genre").write_text("".join(f"{name}|{at}\n" for at, name in enumerate(genres)), encoding="latin-1")
    films = [f"{item}|Film {item} (1990)|01-Jan-1990||http://x|{'|'.join(['0'] * 19)}" for item in range(1, ITEMS + 1)]
    (folder / "u.item").write_text("\n".join(films) + "\n", encoding="latin-1")
    people = [f"{user}|30|M|writer|00000" for user in range(1, USERS + 1)]
    (folder / "u.user").write_text("\n".join(people) + "\n", encoding="latin-1")
    parts: dict[str, list[str]] = {"u1.base": [], "u1.test": []}
    for user in range(1, USERS + 1):
        own = [item for item in range(1, ITEMS + 1) if item % KINDS == user % KINDS]
        for place, item in enumerate(rng.sample(own, MET)):
            stars = 5 if item // KINDS % 2 else 1
            part = "u1.test" if place >= MET - 2 else "u1.base"
            parts[part].append(f"{user}\t{item}\t{stars}\t{880000000 + place * 86400 + user}")
    for name, lines in parts.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_both_heads_learn(two_sided: Callable[..., dict[str, float]]) -> None:
    learnt = two_sided(["rating", "retrieval"])
    still = two_sided(["rating", "retrieval"], rate=1e-9)
    assert still["rating"] > 1.9
    assert still["retrieval"] < 0.3, "ten of forty by chance"
    assert learnt["rating"] < still["rating"] - 0.2
    assert learnt["retrieval"] > still["retrieval"] + 0.2


def test_second_head_is_felt_by_its_weight(two_sided: Callable[..., dict[str, float]]) -> None:
    alone = two_sided(["rating"])
    whole = two_sided(["rating", "retrieval"])
    light = two_sided(["rating", {"name": "retrieval", "weight": 0.001}])
    assert alone.keys() == {"rating"}
    assert abs(whole["rating"] - alone["rating"]) > 0.1
    assert abs(light["rating"] - alone["rating"]) < 0.2 * abs(whole["rating"] - alone["rating"])
    assert light["retrieval"] != whole["retrieval"]
    assert two_sided(["retrieval"])["retrieval"] != whole["retrieval"]


@pytest.mark.parametrize("weight", [0, -1, 1e6])
def test_weight_of_a_head_is_above_zero_and_no_giant(weight: float) -> None:
    heads = ["rating", {"name": "retrieval", "weight": weight}]
    with pytest.raises(InputError, match=r"heads\.1\.weight: Input should be"):
        load_recipe("movies", changes={"data.path": "demo", "heads": heads})


@pytest.fixture(scope="module")
def stars(quick_run: Callable[..., Path]) -> Path:
    return quick_run("ecommerce", {**STARS, "heads": ["rating", RETRIEVAL]})


@pytest.fixture(scope="module")
def stars_alone(quick_run: Callable[..., Path]) -> Path:
    return quick_run("ecommerce", {**STARS, "heads": ["rating"]})


@pytest.fixture(scope="module")
def likes(quick_run: Callable[..., Path]) -> Path:
    return quick_run("collm-ml-1m", LIKES)


def read(run: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return metrics


@pytest.mark.trains
@pytest.mark.parametrize(
    ("name", "primary", "further"), [("stars", "rating", "retrieval"), ("likes", "click", "ranking")]
)
def test_each_head_is_reported_by_its_own_task_beside_its_own_line(
    name: str, primary: str, further: str, request: pytest.FixtureRequest
) -> None:
    run: Path = request.getfixturevalue(name)
    metrics = read(run)
    report = metrics["heads"][further]
    metric = {"retrieval": "recall@10", "ranking": "ndcg@10"}[further]
    assert (metrics["head"], list(metrics["heads"])) == (primary, [further])
    assert (report["primary_metric"], metrics["primary_metric"]) == (
        metric,
        {"rating": "rmse", "click": "auc"}[primary],
    )
    assert {"popularity", "neighbour_counts", "text_cosine", "counts_and_text"} <= set(report["test"]["baselines"])
    assert report["best_baseline"] in report["test"]["baselines"]
    assert metrics["best_baseline"] in metrics["test"]["baselines"]
    assert not {"popularity"} & set(metrics["test"]["baselines"]) or primary == "click"
    for part in ("test", "valid"):
        for model in ("before", "after", "blend"):
            assert {"hr@10", "ndcg@10", "mrr", "coverage@10", "novelty@10"} <= set(report[part][model])
            assert metrics["primary_metric"] in metrics[part][model]
    assert 0.0 <= report["blend_share_of_best_baseline"] <= 1.0
    test = report["test"]
    rows = {**{model: test[model] for model in ("before", "after", "blend")}, **test["baselines"]}
    line = rows.pop(report["best_baseline"])[metric]
    assert set(report["no_better_than_best_baseline"]) == {model for model, row in rows.items() if row[metric] <= line}


def test_figures_of_further_heads_are_those_of_their_predictions(stars: Path, likes: Path) -> None:
    for run, further in ((stars, "retrieval"), (likes, "ranking")):
        said, report = read_predictions(run / NAME), read(run)["heads"][further]
        assert list(said.heads) == [read(run)["head"], further]
        for model in ("before", "after", "blend", *report["test"]["baselines"]):
            row = {**report["test"], **report["test"]["baselines"]}[model]
            rank = said.heads[further].models[model]
            assert row["mrr"] == pytest.approx((1.0 / rank).mean(), abs=1e-6)
            assert row["hr@10"] == pytest.approx((rank <= 10).mean(), abs=1e-6)


@pytest.mark.trains
@pytest.mark.parametrize("name", ["stars", "likes"])
def test_joint_run_repeats_its_figures_and_serves_its_first_head(name: str, request: pytest.FixtureRequest) -> None:
    run: Path = request.getfixturevalue(name)
    found = evaluate(run)
    assert found["repeats"]
    assert found["stored"] == read(run)["test"]["after"]
    assert {name: told["stored"] for name, told in found["heads"].items()} == {
        name: told["test"]["after"] for name, told in read(run)["heads"].items()
    }
    recommender = Recommender.from_pretrained(run)
    assert list(recommender.model.heads) == [read(run)["head"], *read(run)["heads"]]
    said = read_predictions(run / NAME)
    expected = said.heads[read(run)["head"]].models["after"]
    scores = recommender.score(list(said.user), list(said.item))
    if name == "stars":  # likes are told by histories of their own time, which a run does not keep
        np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_dropped_head_changes_what_the_other_one_says_and_the_rest_of_the_report_stays(
    stars: Path, stars_alone: Path
) -> None:
    joint, alone = read(stars), read(stars_alone)
    assert "heads" not in alone
    assert joint["test"]["after"] != alone["test"]["after"]
    for name in ("global_mean", "user_mean", "item_mean", "bias", "biased_mf"):
        assert joint["test"]["baselines"][name] == alone["test"]["baselines"][name]
    assert compare([stars], [str(stars_alone)], head="rating", resamples=100)["metric"] == "rmse"


def test_rankings_of_joint_runs_are_compared_only_where_they_rank_the_same_items(
    stars: Path, stars_alone: Path, tmp_path: Path
) -> None:
    """The protocol of a run is set for its first head: stars rank nothing, so the recipe has to say it."""
    other = Path(shutil.copytree(stars, tmp_path / "other"))
    text = (other / "recipe.yaml").read_text(encoding="utf-8")
    (other / "recipe.yaml").write_text(text.replace("own_items: true", "own_items: false"), encoding="utf-8")
    resealed(other)
    with pytest.raises(InputError, match=r"was measured otherwise than .*: own_items is False, not True"):
        compare([stars], [str(other)], head="retrieval", resamples=100)
    with pytest.raises(InputError, match="has no head 'retrieval'"):
        compare([stars], [str(stars_alone)], head="retrieval", resamples=100)


def test_ranking_first_and_ranking_last_are_compared_by_their_clicks(likes: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(likes, tmp_path / "other"))
    metrics = read(other)
    metrics["protocol"] |= {"candidates": "whole catalogue", "own_items": True}  # as where ranking is the first head
    (other / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    resealed(other, weights_sha256="0" * 64)
    for one, against in ((likes, other), (other, likes)):
        assert compare([one], [str(against)], head="click", resamples=100)["difference"] == 0.0
