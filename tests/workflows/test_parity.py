"""Parity: drift between training and serving is measured, and what cannot be measured is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.rating_metrics import rmse
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.parity import Serving, Tolerance, parity


def test_control_gives_the_stored_vectors_and_the_run_its_metric(tiny_run: Path) -> None:
    report = parity(tiny_run)
    assert list(report["ways"]) == ["training"]
    control = report["ways"]["training"]
    assert control["vectors"]["cosine_distance_max"] < 1e-5
    assert control["scores"]["mean"] < 1e-3
    assert report["within"]
    recommender = Recommender.from_pretrained(tiny_run)
    prepared = prepare(recommender.recipe)
    expected = rmse(recommender.score(*prepared.ids(prepared.valid)), prepared.valid.label)
    assert report["metric"] == "rmse"
    assert control["metric"]["reference"] == pytest.approx(expected, abs=1e-6)
    assert report["pairs"] == {"from": "validation", "number": len(prepared.valid)}


def test_serving_in_fp32_is_within_the_tolerance(tiny_run: Path) -> None:
    report = parity(tiny_run, Serving(precision="fp32"))
    assert list(report["ways"]) == ["training", "serving"]
    assert report["ways"]["serving"]["compute"] == "fp32"
    assert report["within"]


def test_drift_beyond_the_tolerance_is_said(tiny_run: Path) -> None:
    none = Tolerance(scores=0.0, metric=1.0)
    report = parity(tiny_run, Serving(quantization="nf4"), none)
    assert not report["ways"]["serving"]["within"]
    assert not report["within"]
    assert report["ways"]["serving"]["quantization"].startswith("nf4")
    assert report["ways"]["serving"]["scores"]["mean"] > report["ways"]["training"]["scores"]["mean"]


def test_drift_is_what_the_scores_of_the_drawn_items_say(tiny_run: Path) -> None:
    from llmrec_peft.workflows.drift import drift, pairs_of, within

    recommender = Recommender.from_pretrained(tiny_run)
    pairs = pairs_of(recommender, tiny_run, None, 7, seed=1)
    assert len(pairs.items) == 7
    stored = recommender.catalogue.vectors
    assert stored is not None
    turned = stored.clone()
    turned[pairs.items] = turned[pairs.items].flip(0)
    found = drift(recommender, pairs, turned[pairs.items], stored[pairs.items])
    names = [recommender.vocabulary.users[user - 1] for user in pairs.users]
    items = [recommender.catalogue.ids[pairs.items[place]] for place in pairs.places]
    before, after = recommender.score(names, items), recommender.with_vectors(turned).score(names, items)
    assert pairs.labelled is not None
    labels = pairs.labelled.part.label
    assert found["scores"]["mean"] == pytest.approx(float(np.abs(after - before).mean()), rel=1e-5)
    assert found["scores"]["max"] == pytest.approx(float(np.abs(after - before).max()), rel=1e-5)
    assert found["metric"]["worsening"] == pytest.approx(rmse(after, labels) / rmse(before, labels) - 1, rel=1e-4)
    assert found["scores"]["mean"] > 0
    broken = {**found, "scores": {**found["scores"], "mean": float("nan")}}
    assert not within(broken, pairs, 1.0, 1.0)
    low, high = pairs.label_range
    assert (low, high) == (1.0, 5.0)
    share = found["scores"]["mean"] / (high - low)
    assert within({**found, "metric": None}, pairs, share * 1.01, 0.0)
    assert not within({**found, "metric": None}, pairs, share * 0.99, 0.0)


def test_without_the_data_a_sample_of_users_is_scored_and_no_metric_given(
    tiny_run: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tiny_data.with_name("moved")
    tiny_data.rename(moved)
    try:
        report = parity(tiny_run, limit=5)
        assert report["pairs"] == {"from": "sample", "number": 5 * 30}
        assert report["metric"] is None
        assert report["ways"]["training"]["metric"] is None
        assert parity(tiny_run, data=str(moved), limit=5)["metric"] == "rmse"
    finally:
        moved.rename(tiny_data)


@pytest.mark.parametrize(("task", "metric"), [("click", "auc"), ("ranking", "ndcg@10"), ("joint", "rmse")])
def test_drift_of_every_task_is_told_in_its_primary_metric_as_training_measured_it(
    task: str, metric: str, task_runs: Callable[[str], Path]
) -> None:
    from llmrec_peft.workflows.drift import drift, pairs_of

    run = task_runs(task)
    recommender = Recommender.from_pretrained(run)
    pairs = pairs_of(recommender, run, None, None, seed=0)
    stored = recommender.catalogue.vectors
    assert pairs.metric == metric
    assert stored is not None
    turned = drift(recommender, pairs, -8.0 * stored.flip(0), stored)["metric"]  # far enough to change an order
    trained = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["valid"]["after"][metric]
    assert turned["reference"] == pytest.approx(trained, abs=1e-4)
    assert turned["value"] != turned["reference"]
    worse = turned["reference"] > turned["value"] if metric != "rmse" else turned["reference"] < turned["value"]
    assert (turned["worsening"] > 0) == worse
    low, high = pairs.label_range
    known = {"click": (0.0, 1.0), "joint": (1.0, 5.0)}
    assert (low, high) == known.get(task, (low, high))
    assert high > low


def test_pairs_without_a_figure_and_runs_that_read_prompts_are_refused(
    task_runs: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrec_peft.workflows import parity as module

    with pytest.raises(InputError, match=r"the \d+ validation pairs drawn have no auc: raise --limit"):
        parity(task_runs("click"), limit=3)

    def never(*_: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(module, "load_backbone", never)
    with pytest.raises(InputError, match="this run reads prompts: parity compares bases by texts of items alone"):
        parity(task_runs("prompt"))


def test_what_cannot_be_measured_is_refused_before_anything_is_loaded(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrec_peft.workflows import parity as module

    def never(*_: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(module, "load_backbone", never)
    lora = registry.get("adapters", "lora")
    fixed = type(lora.capabilities)(encoder=True, decoder=True, int8=True, nf4=False, mergeable=False)
    monkeypatch.setattr(lora, "capabilities", fixed)
    with pytest.raises(InputError, match="cannot train on nf4 weights"):
        parity(tiny_run, Serving(quantization="nf4"))


def test_base_with_other_weights_is_not_measured(tiny_run: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    from llmrec_peft.artifact.manifest import make_manifest, read_manifest

    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    other = {**read_manifest(run).base, "weights_sha256": "2" * 64}
    (run / "manifest.json").write_text(make_manifest(run, other, "0").model_dump_json(), encoding="utf-8")
    with pytest.raises(InputError, match="weights_sha256 is "):
        parity(run, Serving(precision="fp32"), limit=4)
