"""Ablations: one row for each part left out, compared with the whole; parts that are not there are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe
from llmrec_peft.recipe.variants import untuned, without
from llmrec_peft.workflows.evaluate import evaluate
from llmrec_peft.workflows.train import train


def _changes(tiny_data: Path, tiny_backbone: Path, **more: Any) -> dict[str, Any]:
    base = {"data.path": str(tiny_data), "backbone.name": str(tiny_backbone), "training.epochs": 2}
    return {**base, **{name.replace("__", "."): value for name, value in more.items()}}


@pytest.mark.trains
def test_each_part_left_out_has_a_row_and_a_comparison(tiny_data: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    changes = _changes(tiny_data, tiny_backbone, evaluation__bootstrap=200)
    changes["evaluation.ablations"] = ["text", "collaborative", "adapter"]
    run = tmp_path / "run"
    metrics = train(load_recipe("movies", changes=changes), run, show=False)
    assert json.loads((run / "metrics.json").read_text(encoding="utf-8")) == metrics
    names = ["without_text", "without_collaborative", "without_adapter"]
    for part in ("test", "valid"):
        assert list(metrics[part]["ablations"]) == names
        for row in metrics[part]["ablations"].values():
            assert 0 < row["mae"] <= row["rmse"] < 4
            assert row != metrics[part]["after"]
    compared = {name.removeprefix("after_minus_") for name in metrics["comparisons"] if name.startswith("after")}
    assert compared == {"before", *names, *metrics["test"]["baselines"]}
    for name in names:
        for unit in ("by_user", "by_item"):
            interval = metrics["comparisons"][f"after_minus_{name}"][unit]
            expected = metrics["test"]["after"]["rmse"] - metrics["test"]["ablations"][name]["rmse"]
            assert interval["difference"] == pytest.approx(expected, abs=1e-6)
            assert interval["low"] <= interval["high"]
    assert metrics["seconds"]["ablations"] > 0
    assert evaluate(run)["repeats"]  # later variants trained the same adapter anew; the artifact is the whole one's


def test_untuned_reference_has_no_factors_no_graph_and_no_adapter(tiny_data: Path, tiny_backbone: Path) -> None:
    recipe = untuned(load_recipe("movies", changes=_changes(tiny_data, tiny_backbone)))
    assert recipe.adapter.method == "none"
    assert set(recipe.signals.active) == {"text", "collaborative"}
    assert recipe.signals.active["collaborative"].factors is False


def test_part_that_is_not_there_cannot_be_left_out(tiny_data: Path, tiny_backbone: Path) -> None:
    recipe = load_recipe("movies", changes=_changes(tiny_data, tiny_backbone, signals__graph=False))
    with pytest.raises(InputError, match="the recipe has no signal 'graph' to leave out"):
        without(recipe, "graph")
    with pytest.raises(InputError, match=r"adapter\.method is none already"):
        without(without(recipe, "adapter"), "adapter")
    assert "text" not in without(recipe, "text").signals.active
