"""Ranking blend: a ranking's run folder answers as its report says, and a baseline that is better is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft import Recommender
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.intervals import PairedInterval
from llmrec_peft.experiment import ranking_blend, served_blend
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.recommendation import by_validation, held_against_baseline
from llmrec_peft.experiment.served_signal import slope
from llmrec_peft.experiment.what_answers import decider_of
from llmrec_peft.explanation.explainer import Explainer
from llmrec_peft.heads.contract import HeadContext
from llmrec_peft.heads.ranking import RankingHead, RankingOptions
from llmrec_peft.heads.retrieval import RetrievalHead, RetrievalOptions
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.workflows.evaluate import evaluate
from llmrec_peft.workflows.export_vectors import export_vectors
from llmrec_peft.workflows.train import train

RANKING = {"name": "ranking", "negative_count": 32}


def of_demo(changes: dict[str, Any]) -> Recipe:
    of_ranking = {"data.split": "leave-last-out", "head": RANKING, "training.choice": "auto"}
    return load_recipe("movies", changes={"data.path": "demo", **of_ranking, **changes})


@pytest.mark.parametrize("baseline", ["popularity", "neighbour_counts", "counts_and_text"])
@pytest.mark.trains
def test_the_run_folder_answers_as_the_report_says(
    baseline: str, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking_blend, "SERVABLE", (baseline,))
    monkeypatch.setattr(served_blend, "paired_interval", lambda *given: PairedInterval(1.0, 0.5, 1.5, 9))
    changes = {"backbone.name": str(tiny_backbone), "backbone.precision": "fp32", "training.epochs": 1}
    recipe = of_demo({**changes, "evaluation.bootstrap": 0, "evaluation.collaborative_only": False})
    run = tmp_path / "run"
    metrics = train(recipe, run, show=False)
    found = metrics["recommended"]
    assert (found["baseline"], found["share_of_baseline"] > 0.0) == (baseline, True)
    assert found["says"].startswith("recommended: the tuned model with ")
    assert evaluate(run)["repeats"]
    recommender = Recommender.from_pretrained(run)
    assert recommender.recipe.served is not None
    assert recommender.recipe.served.baseline == baseline
    user = recommender.tenant.vocabulary.users[0]
    first = recommender.recommend([user], k=5)[0].items
    scores = recommender.score([user] * 5, [one.item_id for one in first])
    np.testing.assert_allclose(scores, [one.score for one in first], atol=1e-3)
    explained = Explainer(recommender).explain(user, first[0].item_id)
    parts = sum(explained.base.values()) + sum(one.contribution for one in explained.of("signal"))
    assert parts == pytest.approx(explained.raw, abs=1e-4)
    assert "baseline, by itself" in {one.what for one in explained.of("signal")}
    if baseline != "popularity":
        with pytest.raises(InputError, match=r"training\.choice=validation"):
            export_vectors(run, tmp_path / "vectors")
    assert train(recipe, run, resume=True, show=False) == json.loads(json.dumps(metrics))


@pytest.mark.parametrize(
    "changes",
    [
        {"training.choice": "validation"},
        {"evaluation.blend": False},
        {"head": {"name": "rating"}},
        {"heads": [RANKING, {"name": "rating"}]},
    ],
)
def test_a_baseline_answers_beside_the_model_where_it_may(changes: dict[str, Any]) -> None:
    assert decider_of(prepare(of_demo({}))) == "ranking blend"
    assert decider_of(prepare(of_demo(changes))) != "ranking blend"


def test_heads_that_normalize_their_vectors_cannot_be_weighed_by_a_share() -> None:
    device = torch.device("cpu")
    ranking, retrieval = RankingHead(RankingOptions(temperature=4.0)), RetrievalHead(RetrievalOptions())
    for head in (ranking, retrieval):
        head.parts = head.build(HeadContext(3, 1.0, (0.0, 1.0)))
    assert ranking_blend._scales(ranking, 3, device)
    assert not ranking_blend._scales(retrieval, 3, device)
    assert slope(ranking, device) == pytest.approx(0.25)


def report(ours: float, intervals: bool) -> dict[str, Any]:
    one = {"difference": ours - 0.3, "low": ours - 0.31, "high": ours - 0.29}
    return {
        "best_baseline": "counts_and_text",
        "primary_metric": "ndcg@10",
        "test": {"after": {"ndcg@10": ours}, "baselines": {"counts_and_text": {"ndcg@10": 0.3}}},
        "comparisons": {"after_minus_counts_and_text": {"by_user": one}} if intervals else {},
    }


@pytest.mark.parametrize("intervals", [True, False])
def test_a_better_baseline_is_said_in_one_sentence(intervals: bool) -> None:
    says = held_against_baseline(by_validation(), report(0.2, intervals))["says"]
    how = "significantly better" if intervals else "better"
    assert says == (
        f"the best baseline, counts and text, is {how} than the tuned model, which is served:"
        " ndcg@10 0.3000 against 0.2000 on test"
    )
    assert "says" not in held_against_baseline(by_validation(), report(0.4, intervals))


def test_a_baseline_that_is_not_shown_to_be_better_is_not_named() -> None:
    assert "says" not in held_against_baseline(by_validation(), report(0.295, True))
