"""Ranking blend: a ranking's run folder answers as its report says, and a baseline that is better is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from resealed import resealed
from spoiled import change_tensors

from llmrec_peft import Recommender
from llmrec_peft.data.batches import Batch
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.baselines.followers import _Links, title_words
from llmrec_peft.evaluation.intervals import PairedInterval
from llmrec_peft.evaluation.outcomes import Ranks
from llmrec_peft.experiment import ranking_blend, served_blend
from llmrec_peft.experiment.judge import Difference
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.recommendation import by_validation, held_against_baseline
from llmrec_peft.experiment.served_signal import served_signal, slope
from llmrec_peft.experiment.what_answers import decider_of
from llmrec_peft.explanation.explainer import Explainer
from llmrec_peft.explanation.pieces import Variant
from llmrec_peft.heads.contract import HeadContext
from llmrec_peft.heads.ranking import RankingHead, RankingOptions
from llmrec_peft.heads.retrieval import RetrievalHead, RetrievalOptions
from llmrec_peft.model import served_followers
from llmrec_peft.model.served_followers import ServedFollowers
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.workflows.evaluate import evaluate
from llmrec_peft.workflows.export_vectors import export_vectors
from llmrec_peft.workflows.train import train

RANKING = {"name": "ranking", "negative_count": 32}


def of_demo(changes: dict[str, Any]) -> Recipe:
    of_ranking = {"data.split": "leave-last-out", "head": RANKING, "training.choice": "auto"}
    return load_recipe("movies", changes={"data.path": "demo", **of_ranking, **changes})


@pytest.mark.parametrize("baseline", ["popularity", "neighbour_counts", "counts_and_text", "transitions_and_words"])
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
    if baseline == "transitions_and_words":
        _answers_without_scipy(run, user, [one.item_id for one in first])
        _explains_histories(recommender, user, first[0].item_id)
    explained = Explainer(recommender).explain(user, first[0].item_id)
    parts = sum(explained.base.values()) + sum(one.contribution for one in explained.of("signal"))
    assert parts == pytest.approx(explained.raw, abs=1e-4)
    assert "baseline, by itself" in {one.what for one in explained.of("signal")}
    if baseline != "popularity":
        with pytest.raises(InputError, match=r"training\.choice=validation"):
            export_vectors(run, tmp_path / "vectors")
    assert train(recipe, run, resume=True, show=False) == json.loads(json.dumps(metrics))


def _answers_without_scipy(run: Path, user: str, expected: list[str]) -> None:
    """Another process gives the same list, and imports no scipy for it."""
    code = (
        "import sys; from llmrec_peft import Recommender;"
        f" found = Recommender.from_pretrained({str(run)!r}).recommend([{user!r}], k=5)[0].items;"
        " print([one.item_id for one in found], 'scipy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{expected} False"


def _explains_histories(recommender: Recommender, user: str, item: str) -> None:
    """Each entry of a history counts as what the score loses without it: the model itself reads none."""
    explainer = Explainer(recommender, words="none")
    pair = explainer.pair(user, item)
    whole = explainer.what_if.scores([Variant(pair)])[0]
    (weighed,) = explainer.weighed([pair], "history")
    assert len(weighed) == 10, "the newest that are read"
    tenant, index = recommender.tenant, pair.user
    entries = tenant.seen.of(index)[0]
    for one in weighed[:3]:
        left = entries[entries != one.piece.key]
        told = [(tenant.vocabulary.item_ids(np.array([entry]))[0], 1.0) for entry in left.tolist()]
        rest = recommender.score([user], [item], histories=[told])[0]
        assert one.contribution == pytest.approx(whole - rest, abs=1e-4)
    assert any(one.contribution != 0.0 for one in weighed)


@pytest.mark.parametrize("words", [0.0, 0.8])
def test_what_follows_is_counted_in_what_was_learnt_and_words_are_of_all_titles(
    words: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_followers, "STRONGEST", 1000)
    prepared = prepare(of_demo({}))
    name, settings = "transitions_and_words" if words else "transitions", {"decay": 0.5, "own": 0.3, "words": words}
    learned = prepared.protocol.train
    signal = served_signal(prepared, name, settings, 2.0, learned)
    assert isinstance(signal, ServedFollowers)
    part = prepared.valid.take(np.arange(50))
    alike = title_words(prepared.titles)
    num_items = prepared.vocabulary.num_items
    wanted = _Links(learned, num_items, alike).scores(part, settings)
    batch = Batch.of(part, np.arange(50), torch.device("cpu"), 10)
    torch.testing.assert_close(signal.cross(batch, torch.arange(1, num_items)[None, :]), 2.0 * wanted)


def test_validation_chooses_what_follows_where_it_helps_most_and_false_tables_are_refused(
    quick_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(quick_run("games", {"training.choice": "auto"}), tmp_path / "run"))
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    found = metrics["recommended"]
    assert (found["baseline"], found["share_of_baseline"] > 0.0) == ("transitions_and_words", True)
    assert found["says"].startswith("recommended: the tuned model with ")
    assert evaluate(run)["repeats"]
    signals = run / "signals.safetensors"
    name = "baseline.follows.item"
    change_tensors(signals, lambda tensors: {**tensors, name: tensors[name] + 10_000})
    with pytest.raises(
        InputError, match=r"signals\.safetensors: tensor follows\.item is not a list of items"
    ) as caught:
        Recommender.from_pretrained(resealed(run))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["popularity", "neighbour_counts", "transitions"])
def test_examples_made_of_histories_are_counted_by_no_baseline(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"data.path": "demo", "data.expand_histories": True, "training.choice": "auto"}
    prepared = prepare(load_recipe("minionerec", changes=changes))
    learned = prepared.protocol.learned
    records = prepared.records(learned)
    assert len(learned) > len(records)
    monkeypatch.setattr(ranking_blend, "with_baseline", lambda model, signal, share: signal)
    monkeypatch.setattr(ranking_blend, "slope", lambda head, device: 1.0)
    head = prepared.recipe.head.name
    model: Any = SimpleNamespace(heads={head: None}, device=None)
    share = served_blend.ServedShare(name, {}, 0.5, Difference(1.0, 0.1, 0.8, 1.2), 9)
    blend = ranking_blend.RankingBlend(head, prepared, [])
    blend._scale = 1.0
    found: Any = blend._model(model, share, learned)
    wanted, other = (served_signal(prepared, name, {}, 0.5, part).parts.state_dict() for part in (records, learned))
    for key, tensor in found.parts.state_dict().items():
        torch.testing.assert_close(tensor, wanted[key], rtol=0, atol=0)
    assert any(not torch.equal(tensor, other[key]) for key, tensor in wanted.items())


def baseline_named(name: str) -> Baseline:
    ranks = Ranks(np.ones(1), np.ones((1, 1), np.int64))
    return Baseline(name, {}, ranks, ranks, (lambda rows: torch.zeros(1), lambda rows: torch.zeros(1)))


@pytest.mark.parametrize("reads_texts", [True, False])
def test_words_of_titles_are_served_beside_a_model_without_texts_and_similar_texts_are_not(reads_texts: bool) -> None:
    texts = {} if reads_texts else {"signals.text": False}
    prepared = prepare(of_demo(texts))
    assert prepared.recipe.reads.item_text == reads_texts
    names = ["popularity", "counts_and_text", "text_cosine", "transitions", "transitions_and_words"]
    blend = ranking_blend.RankingBlend("ranking", prepared, [baseline_named(name) for name in names])
    served = ["popularity", "counts_and_text", "transitions", "transitions_and_words"]
    assert [one.name for one in blend._baselines] == [one for one in served if reads_texts or one != "counts_and_text"]


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
