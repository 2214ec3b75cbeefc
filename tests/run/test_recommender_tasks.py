"""Recommender of other tasks than stars: answers, what is left out, new items, and several runs on one base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llmrec_peft.cli.main import main
from llmrec_peft.errors import InputError
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.predict import predict
from llmrec_peft.workflows.recommender import Recommender as PublicRecommender

TASKS = ("click", "prompt", "ranking", "joint")
NEW = {"title": "Paper Harbour", "year": 1990, "brand": "", "categories": [], "description": "a made-up thing"}
Runs = Callable[[str], Path]


def met(recommender: Recommender, user: str) -> set[str]:
    index = int(recommender.vocabulary.user_indices([user])[0])
    return {recommender.vocabulary.items[item - 1] for item in recommender.tenant.seen.of(index)[0] if item}


@pytest.mark.parametrize("task", TASKS)
def test_recommendations_are_best_first_and_leave_out_what_was_met_unless_asked_for(task: str, task_runs: Runs) -> None:
    recommender = Recommender.from_pretrained(task_runs(task))
    users = recommender.vocabulary.users[:2]
    everything = set(recommender.catalogue.ids)
    for answer in recommender.recommend(users, k=len(everything)):
        ids = [item.item_id for item in answer.items]
        assert answer.basis == "personal"
        assert met(recommender, answer.user_id)
        assert set(ids) == everything - met(recommender, answer.user_id)
        scores = recommender.score([answer.user_id] * len(ids), ids)
        np.testing.assert_allclose([item.score for item in answer.items], scores, atol=1e-4)
        assert (np.diff(scores) <= 1e-6).all()
        titles = dict(zip(recommender.vocabulary.items, recommender.items.titles, strict=True))
        assert all(item.title == titles[item.item_id] for item in answer.items)
    again = recommender.recommend(users[:1], k=len(everything), seen=True)[0]
    assert {item.item_id for item in again.items} == everything
    if task in ("click", "prompt"):
        assert all(0.0 <= item.score <= 1.0 for item in again.items)
    if task == "joint":
        assert all(1.0 <= item.score <= 5.0 for item in again.items)


@pytest.mark.parametrize("task", TASKS)
def test_new_items_are_scored_by_their_own_texts(task: str, task_runs: Runs) -> None:
    recommender = Recommender.from_pretrained(task_runs(task))
    user = recommender.vocabulary.users[0]
    own = {"title": recommender.items.titles[3]}
    recommender.add_items([{"item_id": "one", **NEW}, {"item_id": "two", **NEW, **own}])
    recommender.add_items([{"item_id": "three", **NEW, **own}])
    one, two, three = recommender.score([user] * 3, ["one", "two", "three"])
    assert two == pytest.approx(three, abs=1e-5)
    assert abs(one - two) > 1e-5
    assert np.isfinite(recommender.score(["nobody"], ["one"])).all()
    listed = recommender.recommend([user], k=10_000)[0].items
    assert {"one", "two", "three"} <= {item.item_id for item in listed}


def test_prompt_of_a_new_item_is_the_one_that_a_known_item_with_its_columns_has(task_runs: Runs) -> None:
    recommender = Recommender.from_pretrained(task_runs("prompt"))
    user, known = recommender.vocabulary.users[0], recommender.catalogue.ids[5]
    assert recommender.catalogue.vectors is None  # nothing is read of an item but its prompt
    columns = {**recommender.items.columns[5], "item_id": "copy"}
    assert recommender.add_items([columns]) == ["copy"]
    copied, own = recommender.score([user, user], ["copy", known])
    assert copied == pytest.approx(own, abs=1e-5)


@pytest.mark.parametrize(("task", "called"), [("click", "probability"), ("ranking", "score"), ("joint", "predicted")])
def test_command_says_what_it_prints(
    task: str, called: str, task_runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    run = task_runs(task)
    user = Recommender.from_pretrained(run).vocabulary.users[0]
    for asked in (user, "nobody"):
        with pytest.raises(SystemExit) as stopped:
            main(["recommend", str(run), "--user", asked, "-k", "2"])
        said = capsys.readouterr().out
        assert stopped.value.code in (0, None)
        assert called in said
        assert ("unknown: the most popular items" in said) == (asked == "nobody")
    with pytest.raises(SystemExit):
        main(["recommend", str(run), "--user", user, "-k", "2", "--json"])
    assert len(json.loads(capsys.readouterr().out)["items"]) == 2


@pytest.mark.parametrize("task", TASKS)
def test_predicted_files_hold_the_recommender_s_scores(task: str, task_runs: Runs, tmp_path: Path) -> None:
    run = task_runs(task)
    recommender = Recommender.from_pretrained(run)
    users, items = [*recommender.vocabulary.users[:3], "nobody"], list(recommender.catalogue.ids[:4])
    rows = [",".join(f'"{cell}"' for cell in pair) for pair in zip(users, items, strict=True)]
    (tmp_path / "in.csv").write_text("user_id,item_id\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert predict(run, tmp_path / "in.csv", tmp_path / "out.parquet", unknown="popular").scored == 4
    import pyarrow.parquet as pq

    written = pq.read_table(tmp_path / "out.parquet").to_pydict()
    np.testing.assert_allclose(written["score"], recommender.score(users, items), atol=1e-5)
    assert written["basis"] == ["personal"] * 3 + ["unknown-user"]


def test_runs_of_different_heads_on_one_base_answer_as_alone(task_runs: Runs, tiny_run: Path) -> None:
    folders = [tiny_run, *(task_runs(task) for task in TASKS)]
    alone = {}
    for folder in folders:
        single = Recommender.from_pretrained(folder)
        users, items = single.vocabulary.users[:3], single.catalogue.ids[:3]
        alone[single.current] = (single.score(users, items), single.recommend(users[:1], k=3), users, items)
    shared = Recommender.from_pretrained(folders[0])
    names = [shared.current, *(shared.attach(folder) for folder in folders[1:])]
    assert names == list(alone)
    for name in [*names, *reversed(names)]:
        shared.switch(name)
        scores, listed, users, items = alone[name]
        np.testing.assert_allclose(shared.score(users, items), scores, atol=1e-6)
        assert shared.recommend(users[:1], k=3) == listed
    with pytest.raises(InputError, match="no run 'clicks' is attached"):
        shared.switch("clicks")


def test_figures_and_explanations_are_those_of_the_run_that_answers(task_runs: Runs, tmp_path: Path) -> None:
    folders = [task_runs("ranking"), tmp_path / "click"]
    shutil.copytree(task_runs("click"), folders[1])
    alone = [PublicRecommender.from_pretrained(folder) for folder in folders]
    pairs = [(one.vocabulary.users[0], one.catalogue.ids[0]) for one in alone]
    explained = [one.explain(*pair).plain() for one, pair in zip(alone, pairs, strict=True)]
    assert all(any(piece["kind"] == "history" for piece in found["evidence"]) for found in explained)
    shared = PublicRecommender.from_pretrained(folders[0])
    names = [shared.current, shared.attach(folders[1])]
    for at in (0, 1, 0):
        shared.switch(names[at])
        assert shared.folder == folders[at]
        assert shared.metrics == json.loads((folders[at] / "metrics.json").read_text(encoding="utf-8"))
        assert repr(shared) == repr(alone[at])
        assert shared.explain(*pairs[at]).plain() == explained[at]
    (folders[1] / "metrics.json").write_text("{}", encoding="utf-8")
    assert shared.metrics == alone[0].metrics
    shared.switch(names[1])
    with pytest.raises(InputError, match=r"metrics\.json"):
        _ = shared.metrics
    assert "its metrics.json cannot be read" in repr(shared)
