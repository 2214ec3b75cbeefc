"""Runs of the recipe news on made-up news: figures by impression from training to comparison, users without history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmrec_recipes.news.demo import TOPICS, demo_dataset
from quick_runs import Trained

from llmrec_peft import Recommender
from llmrec_peft.artifact.predictions import NAME, read_predictions
from llmrec_peft.cli.figures import print_figures
from llmrec_peft.data.dataset import column
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.impression_metrics import IMPRESSION_METRICS, by_impression
from llmrec_peft.workflows.compare import compare

SMALL = {
    "evaluation.bootstrap": 50,
    "data.history_length": 4,
    "signals.history.length": 4,
    "adapter.layers": "all",
    "training.choice": "validation",
}


@pytest.fixture(scope="module")
def run(quick_run: Trained) -> Path:
    return quick_run("news", SMALL)


@pytest.fixture(scope="module")
def metrics(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_every_model_and_baseline_is_measured_by_impression(run: Path, metrics: dict[str, Any]) -> None:
    assert metrics["primary_metric"] == "impression_auc"
    assert {"popularity", "category_rate", "age_rate", "text_cosine"} <= set(metrics["test"]["baselines"])
    said = read_predictions(run / NAME)
    head = said.heads["click"]
    assert said.impression is not None
    for name in ("after", "before", "age_rate"):
        told = metrics["test"].get(name) or metrics["test"]["baselines"][name]
        found = by_impression(head.models[name], head.observed, said.impression).report()
        assert {key: told[key] for key in IMPRESSION_METRICS} == pytest.approx(
            {key: found[key] for key in IMPRESSION_METRICS}, abs=1e-6
        )
    assert set(metrics["comparisons"]["after_minus_before"]) == {"by_user"}


def test_fresh_articles_are_clicked_and_the_age_rate_knows(metrics: dict[str, Any]) -> None:
    baselines = metrics["test"]["baselines"]
    assert baselines["age_rate"]["impression_auc"] > 0.6
    assert baselines["global_rate"]["impression_auc"] == 0.5


def test_records_without_history_are_a_group_of_their_own(metrics: dict[str, Any]) -> None:
    slices = metrics["slices"]
    sizes = {name: slices[f"owner_calls_{name}"]["n"] for name in ("with_history", "without_history")}
    assert min(sizes.values()) > 20
    assert "impression_auc" in slices["owner_calls_without_history"]["after"]


def test_runs_are_compared_by_impression(run: Path) -> None:
    report = compare([run], ["baseline:popularity"], metric="impression_ndcg@10", resamples=50)
    assert (report["metric"], list(report["intervals"])) == ("impression_ndcg@10", ["by_user"])


def test_a_run_without_impressions_is_not_compared_by_them(quick_run: Trained) -> None:
    other = quick_run("collm-ml-1m", {})
    with pytest.raises(InputError, match="metric impression_mrr: the runs' data do not say which items were shown"):
        compare([other], ["baseline:popularity"], metric="impression_mrr", resamples=50)


def test_a_run_answers_from_clicks_alone_and_users_without_any_too(run: Path) -> None:
    recommender = Recommender.from_pretrained(run)
    assert {float(label) for label in np.unique(recommender.tenant.seen.label)} == {1.0}
    assert [len(found.items) for found in recommender.recommend(["U1", "nobody"], 3)] == [3, 3]
    told = recommender.score(["nobody", "nobody"], ["N1", "N2"], histories=[[], [("N3", 1.0)]])
    assert np.isfinite(told).all()


def test_the_table_says_how_many_impressions_have_no_order(
    metrics: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    print_figures(metrics)
    assert "leave out" not in capsys.readouterr().out
    after = {**metrics["test"]["after"], "impression_left_out": 3}
    print_figures({**metrics, "test": {**metrics["test"], "after": after}})
    assert "means over impressions leave out 3 of them that are all clicked" in capsys.readouterr().out


def test_made_up_titles_tell_the_topic_and_parts_cut_no_impression() -> None:
    data = demo_dataset(2)
    words = {word: topic for topic, (_, told) in TOPICS.items() for word in told.split()}
    for title, category in zip(column(data.items, "title"), column(data.items, "category"), strict=True):
        (topic,) = {words[word] for word in title.replace(",", "").split() if word in words}
        assert TOPICS[topic][0] == category
    pairs = set(zip(column(data.interactions, "impression"), column(data.interactions, "part"), strict=True))
    assert len(pairs) == len(set(column(data.interactions, "impression")))
