"""Recommender: a run in memory scores as it did when trained, says what it knows, and refuses what it does not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from resealed import resealed

from llmrec_peft.artifact.seen import read_learned
from llmrec_peft.backbone.base import require_base
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.rating_metrics import rating_report
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.evaluate import evaluate
from llmrec_peft.workflows.train import train


@pytest.fixture
def recommender(tiny_run: Path) -> Recommender:
    """The trained run, loaded."""
    return Recommender.from_pretrained(tiny_run)


@pytest.fixture(scope="module")
def cold_run(tiny_data: Path, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has whole items held out."""
    changes = {
        "data.path": str(tiny_data),
        "data.split": "cold-item",
        "backbone.name": str(tiny_backbone),
        "training.epochs": 2,
        "evaluation.bootstrap": 0,
    }
    run = tmp_path_factory.mktemp("cold") / "run"
    train(load_recipe("movies", changes=changes), run, show=False)
    return run


def test_loaded_run_gives_the_figures_of_its_training(recommender: Recommender, tiny_run: Path) -> None:
    prepared = prepare(recommender.recipe)
    users, items = prepared.vocabulary.users, prepared.vocabulary.items
    test = prepared.test
    scores = recommender.score([users[u - 1] for u in test.user], [items[i - 1] for i in test.item], chunk=13)
    assert scores.dtype == np.float32
    stored = json.loads((tiny_run / "metrics.json").read_text(encoding="utf-8"))["test"]["after"]
    now = rating_report(scores, test.label)
    assert now == pytest.approx(stored, abs=1e-6)


def test_evaluate_repeats_stored_figures_and_refuses_other_data(
    tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    again = evaluate(tiny_run)
    assert again["repeats"]
    assert again["test"]["after"] == pytest.approx(again["stored"], abs=1e-6)
    other = shutil.copytree(tiny_data, tmp_path / "other")
    lines = (other / "u1.test").read_text(encoding="utf-8").splitlines()
    user, item, rating, time = lines[0].split("\t")
    lines[0] = "\t".join([user, item, str(6 - int(rating) if rating != "3" else 4), time])
    (other / "u1.test").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"is not what .* was trained on: its digest differs"):
        evaluate(tiny_run, str(other))


def test_figures_that_do_not_repeat_are_said_not_to(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    metrics["test"]["after"]["rmse"] -= 0.01
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    with pytest.raises(InputError, match=r"metrics.json is not what the run wrote"):
        evaluate(run)
    assert not evaluate(resealed(run))["repeats"]
    (run / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"metrics.json is missing"):
        evaluate(run)


@pytest.mark.parametrize("figures", [7, [], {"rmse": "0.9"}, {"rmse": None}, {"rmse": 10**400}, {"rmse": {}}, {}])
def test_figures_that_are_none_are_refused_or_do_not_repeat(figures: object, tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    metrics["test"]["after"] = figures
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    resealed(run)
    try:
        assert not evaluate(run)["repeats"]
    except InputError as error:
        assert "metrics.json is not what a run writes" in str(error)


@pytest.mark.parametrize("heads", [{"clicks": {"test": {"after": {"auc": 0.5}}}}, ["rating"], 3])
def test_figures_of_heads_that_the_run_has_not_are_refused(heads: object, tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    (run / "metrics.json").write_text(json.dumps({**metrics, "heads": heads}), encoding="utf-8")
    with pytest.raises(InputError, match=r"metrics.json is not what a run writes"):
        evaluate(resealed(run))


@pytest.mark.parametrize("k", ["5", None, 2.0, True, 0, -3])
def test_number_of_items_that_is_none_is_refused(k: Any, recommender: Recommender) -> None:
    with pytest.raises(InputError, match=r"k is a whole number|k must be at least 1"):
        recommender.recommend(["1"], k=k)
    with pytest.raises(InputError, match="chunk must be at least 1"):
        recommender.score(["1"], ["1"], chunk=0)


def test_histories_are_refused_by_a_run_that_would_ignore_them(recommender: Recommender) -> None:
    with pytest.raises(InputError, match="this run reads no histories"):
        recommender.score(["1"], ["1"], histories=[[("5", 5.0)]])


def test_recommendations_are_unseen_best_first_and_k_long(recommender: Recommender, tiny_run: Path) -> None:
    seen = read_learned(tiny_run / "seen.safetensors")
    assert seen is not None
    index = dict(enumerate(recommender.vocabulary.items, start=1))
    users = list(recommender.vocabulary.users)
    for at, answer in enumerate(recommender.recommend(users, k=7), start=1):
        met = {index[i] for u, i in zip(seen.user.tolist(), seen.item.tolist(), strict=True) if u == at}
        assert met
        assert answer.user_id == users[at - 1]
        assert answer.basis == "personal"
        assert len(answer.items) == 7
        assert not met & {item.item_id for item in answer.items}
        scores = [item.score for item in answer.items]
        assert scores == sorted(scores, reverse=True)
        candidates = [item for item in recommender.vocabulary.items if item not in met]
        best = recommender.score([answer.user_id] * len(candidates), candidates).max()
        assert scores[0] == pytest.approx(float(best), abs=1e-4)


def test_seen_items_come_up_again_only_when_asked_for(recommender: Recommender) -> None:
    (all_items,) = recommender.recommend(["1"], k=1000, seen=True)
    (unseen,) = recommender.recommend(["1"], k=1000)
    assert len(all_items.items) == 40
    assert 0 < len(unseen.items) < 40
    with pytest.raises(InputError, match="k must be at least 1, not 0"):
        recommender.recommend(["1"], k=0)


def test_unknown_user_gets_popular_items_and_is_told_so(recommender: Recommender) -> None:
    (answer,) = recommender.recommend(["no such user"], k=5)
    assert answer.basis == "popularity"
    popularity = dict(zip(recommender.vocabulary.items, recommender.items.popularity.tolist(), strict=True))
    counts = [popularity[item.item_id] for item in answer.items]
    assert counts == sorted(popularity.values(), reverse=True)[:5]
    average = recommender.score(["no such user", "another one"], [answer.items[0].item_id] * 2)
    assert average[0] == average[1] == pytest.approx(answer.items[0].score, abs=1e-4)


def test_unknown_item_is_refused_with_what_to_do(recommender: Recommender) -> None:
    with pytest.raises(InputError, match="unknown item 'x': add its text first"):
        recommender.score(["1", "1"], ["1", "x"])
    with pytest.raises(InputError, match="2 users for 1 items"):
        recommender.score(["1", "2"], ["1"])
    assert recommender.score([], []).shape == (0,)


@pytest.mark.trains
def test_new_item_with_the_text_of_a_cold_one_gets_its_score(cold_run: Path, tiny_data: Path) -> None:
    recommender = Recommender.from_pretrained(cold_run)
    cold = [item for item, n in zip(recommender.vocabulary.items, recommender.items.popularity, strict=True) if n == 0]
    assert cold
    prepared = prepare(recommender.recipe)
    row = next(row for row in prepared.dataset.items if row["item_id"] == cold[0])
    other = next(row for row in prepared.dataset.items if row["item_id"] not in cold)
    added = recommender.add_items([{**row, "item_id": "new"}, {**other, "item_id": "warm text"}])
    assert added == ["new", "warm text"]
    users = list(recommender.vocabulary.users)
    known, new = (recommender.score(users, [item] * len(users)) for item in (cold[0], "new"))
    np.testing.assert_allclose(new, known, rtol=0, atol=1e-3)
    titles = {item.item_id: item.title for item in recommender.recommend(["1"], k=1000)[0].items}
    assert titles["new"] == row["title"]
    warm, by_text = (recommender.score(users, [item] * len(users)) for item in (other["item_id"], "warm text"))
    assert np.abs(warm - by_text).max() > 1e-3  # its ratings spoke for it, and do not for the new one


def test_items_known_or_given_twice_or_without_columns_are_refused(recommender: Recommender) -> None:
    row = {"title": "A", "year": 1990, "genres": ["Drama"]}
    with pytest.raises(InputError, match="item '1' is known already"):
        recommender.add_items([{**row, "item_id": "1"}])
    with pytest.raises(InputError, match="item 'n' is known already"):
        recommender.add_items([{**row, "item_id": "n"}, {**row, "item_id": "n"}])
    with pytest.raises(InputError, match="a new item has no item_id"):
        recommender.add_items([row])
    with pytest.raises(InputError, match="item 'n': no column 'title', which its text takes"):
        recommender.add_items([{"item_id": "n"}])
    assert recommender.add_items([]) == []
    assert len(recommender.catalogue.ids) == 40


def test_stored_vectors_are_what_the_loaded_language_model_gives(recommender: Recommender) -> None:
    vectors = recommender.encode(recommender.items.texts[:5])
    assert recommender.catalogue.vectors is not None
    cosine = torch.nn.functional.cosine_similarity(vectors, recommender.catalogue.vectors[:5])
    assert float(cosine.min()) > 0.9999


@pytest.fixture
def run_on_a_copy(tiny_data: Path, tiny_backbone: Path, tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """A short run on a copy of the backbone, which a test may then change."""

    def make(**changes: object) -> tuple[Path, Path]:
        base = shutil.copytree(tiny_backbone, tmp_path / "base")
        fixed = {
            "data.path": str(tiny_data),
            "backbone.name": str(base),
            "training.epochs": 1,
            "training.refit": False,
            "evaluation.bootstrap": 0,
        }
        given = {name.replace("__", "."): value for name, value in changes.items()}
        train(load_recipe("movies", changes={**fixed, **given}), tmp_path / "run", show=False)
        return tmp_path / "run", base

    return make


@pytest.mark.trains
def test_base_model_with_other_weights_is_refused(run_on_a_copy: Callable[..., tuple[Path, Path]]) -> None:
    from safetensors.torch import load_file, save_file

    run, base = run_on_a_copy()
    tensors = load_file(base / "model.safetensors")
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + 1e-3
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    recommender = Recommender.from_pretrained(run)
    known = recommender.score(["1"], ["1"])  # stored vectors need no base model
    with pytest.raises(InputError, match=r"the base model found here is not the one .*: weights_sha256 is"):
        recommender.add_items([{"item_id": "n", "title": "A", "year": 1990, "genres": []}])
    assert recommender.score(["1"], ["1"]) == known
    with pytest.raises(InputError, match="unknown item 'n'"):
        recommender.score(["1"], ["n"])


@pytest.mark.trains
@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
def test_base_model_with_the_same_weights_and_another_file_is_refused_by_its_name(
    run_on_a_copy: Callable[..., tuple[Path, Path]], file: str
) -> None:
    run, base = run_on_a_copy()
    text = (base / file).read_text(encoding="utf-8")
    other = text.replace('"gelu"', '"relu"') if file == "config.json" else text.replace("##ing", "##gni")
    assert other != text
    (base / file).write_text(other, encoding="utf-8")
    recommender = Recommender.from_pretrained(run)
    with pytest.raises(
        InputError, match=rf"the base model found here is not the one .*: {re.escape(file)} has changed \("
    ):
        recommender.add_items([{"item_id": "n", "title": "A", "year": 1990, "genres": []}])


@pytest.mark.trains
def test_without_an_adapter_the_run_scores_and_takes_new_items(
    run_on_a_copy: Callable[..., tuple[Path, Path]],
) -> None:
    run, _ = run_on_a_copy(adapter__method="none")
    assert json.loads((run / "adapter_config.json").read_text(encoding="utf-8"))["peft_type"] == "NONE"
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["parameters"]["adapter"] == 0
    recommender = Recommender.from_pretrained(run)
    assert evaluate(run)["repeats"]
    recommender.add_items([{"item_id": "n", "title": "A", "year": 1990, "genres": []}])
    assert 1.0 <= float(recommender.score(["1"], ["n"])[0]) <= 5.0


@pytest.mark.trains
def test_without_text_the_run_scores_and_refuses_new_items(
    run_on_a_copy: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    from llmrec_peft.workflows.predict import predict

    run, _ = run_on_a_copy(signals__text=False)
    assert not (run / "adapter_model.safetensors").exists()
    assert evaluate(run)["repeats"]
    recommender = Recommender.from_pretrained(run)
    assert len(recommender.recommend(["1"], k=3)[0].items) == 3
    with pytest.raises(InputError, match="this run does not read texts"):
        recommender.add_items([{"item_id": "n", "title": "A", "year": 1990, "genres": []}])
    (tmp_path / "pairs.csv").write_text("user_id,item_id\n1,1\n2,3\n", encoding="utf-8")
    assert predict(run, tmp_path / "pairs.csv", tmp_path / "scores.csv").scored == 2


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("quantization", "nf4", r"quantization is none, not nf4 \(`llmrec parity RUN --quantization none` measures"),
        ("weights_sha256", "0" * 64, r"weights_sha256 is [0-9a-f]{12}…, not 000000000000…$"),
    ],
)
def test_base_held_otherwise_than_in_training_is_refused_with_the_field_named(
    tiny_run: Path, tmp_path: Path, field: str, value: str, message: str
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    resealed(run, **{field: value})
    recommender = Recommender.from_pretrained(run)
    with pytest.raises(InputError, match=message):
        recommender.encode(["a film"])


def test_recorded_computation_is_used_whatever_the_recipe_says(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    for compute, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        resealed(run, compute=compute)
        recommender = Recommender.from_pretrained(run)
        adapter = recommender.tenant.adapter
        assert adapter is not None
        with recommender.language_model.inside(adapter) as (backbone, _):
            assert backbone.model.dtype == dtype


def test_revision_is_compared_where_both_are_known() -> None:
    found = {"weights_sha256": "a", "revision": "1", "quantization": "none", "compute": "fp32"}
    require_base(found, {**found, "revision": None}, "run")
    with pytest.raises(InputError, match=r"revision is 1, not 2$"):
        require_base(found, {**found, "revision": "2"}, "run")
    with pytest.raises(InputError, match=r"compute is fp32, not bf16 .*--precision fp32"):
        require_base(found, {**found, "compute": "bf16"}, "run")
    with pytest.raises(InputError, match="names no base model by hash"):
        require_base(found, {**found, "weights_sha256": ""}, "run")
