"""Tune on real trainings: test is never looked at, what is frozen is computed once, the best recipe can be trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.experiment import experiment, trials
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.workflows import tune as room
from llmrec_peft.workflows.tune import tune

pytest.importorskip("optuna")
pytestmark = pytest.mark.trains
SPACE = (
    "tune={adapter.rank: {choices: [2, 8]}, training.head.learning_rate: {low: 0.0003, high: 0.03, log: true},"
    " adapter.layers: {choices: [top-3, top-2, top-1]}, signals.collaborative.item_dropout: {low: 0.0, high: 0.5}}"
)
Told = dict[str, Any]


@pytest.fixture(scope="module")
def recipe(tiny_data: Path, tiny_backbone: Path) -> Recipe:
    return tiny(tiny_data, tiny_backbone)


@pytest.fixture(scope="module")
def report(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Three trials; beside them under ``folder`` where they are stored."""
    folder = tmp_path_factory.mktemp("searched")
    return {**searched(recipe, folder), "folder": folder}


def tiny(data: Path, backbone: Path, *overrides: str) -> Recipe:
    quick = [f"backbone.name={backbone}", "backbone.precision=fp32", "training.epochs=1", SPACE]
    return load_recipe("movies", [*quick, *overrides], {"data.path": str(data)})


def searched(recipe: Recipe, folder: Path, count: int = 3) -> Told:
    folder.mkdir(exist_ok=True)
    return tune(recipe, count, f"sqlite:///{folder / 'search.db'}", folder / "best.yaml", overwrite=True, show=False)


def reached(report: Told) -> list[Any]:
    kept = ("number", "state", "figure", "epochs", "values")
    return [[row[name] for name in kept] for row in report["trials"]]


def test_other_test_labels_give_the_same_trials(
    report: Told, tiny_data: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_data, tmp_path / "ml")
    file = tmp_path / "ml" / "u1.test"
    rows = [line.split("\t") for line in file.read_text("utf-8").splitlines()]
    assert len({row[2] for row in rows}) > 1
    file.write_text("".join("\t".join([u, i, str(6 - int(r)), t]) + "\n" for u, i, r, t in rows), "utf-8")
    other = searched(tiny(tmp_path / "ml", tiny_backbone), tmp_path / "other")
    assert reached(other) == reached(report)
    assert other["study"] == report["study"]
    assert len({str(row["values"]) for row in report["trials"]}) == 3


def test_what_is_frozen_is_computed_once(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, int] = {}

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            calls[name] = calls.get(name, 0) + 1
            return function(*given, **named)

        return call

    monkeypatch.setattr(room, "read_source", counted("data", room.read_source))
    monkeypatch.setattr(experiment, "prepare", counted("prepared", experiment.prepare))
    monkeypatch.setattr(trials, "prepare", counted("prepared", trials.prepare))
    monkeypatch.setattr(experiment, "load_backbone", counted("base", experiment.load_backbone))
    monkeypatch.setattr(Texts, "__init__", counted("texts", Texts.__init__))
    report = searched(recipe, tmp_path)
    assert len({row["values"]["adapter.layers"] for row in report["trials"]}) > 1
    assert calls == {"data": 1, "prepared": 1, "base": 1, "texts": 1}


def test_a_trial_after_others_reaches_what_it_reaches_alone(report: Told, recipe: Recipe, tmp_path: Path) -> None:
    last = next(row for row in reversed(report["trials"]) if row["state"] == "complete")
    assert last["number"]
    alone = searched(recipe.changed(last["values"]), tmp_path, 1)
    assert alone["study"] != report["study"]
    assert alone["default"]["figure"] == last["figure"]


def test_the_best_recipe_is_whole_and_no_worse(report: Told, recipe: Recipe) -> None:
    best, default = report["best"], report["default"]
    assert default["number"] == 0
    assert best["figure"] <= default["figure"]
    assert load_recipe(report["recipe"]) == recipe.changed(best["values"])
    again = searched(recipe, report["folder"])  # nothing is left to do
    assert reached(again) == reached(report)


def test_values_found_on_made_up_data_hold_when_the_recipe_is_loaded(tiny_backbone: Path, tmp_path: Path) -> None:
    space = "tune={training.head.learning_rate: {low: 0.001, high: 0.1, log: true}}"
    quick = [f"backbone.name={tiny_backbone}", "training.epochs=1", space]
    recipe = load_recipe("movies", quick, {"data.path": "demo"})
    report = searched(recipe, tmp_path, 2)
    loaded = load_recipe(str(tmp_path / "best.yaml"), (), {"data.path": "demo"})
    assert loaded == recipe.changed(report["best"]["values"])


def test_fields_of_a_signal_that_the_data_do_not_feed_are_not_searched(recipe: Recipe, tmp_path: Path) -> None:
    graph = {"signals.graph.dropout": {"low": 0.0, "high": 0.5}}
    both = recipe.changed({"tune": {**graph, "adapter.rank": {"choices": [2, 8]}}})
    assert set(searched(both, tmp_path, 1)["best"]["values"]) == {"adapter.rank"}
    with pytest.raises(InputError, match="there is nothing to vary"):
        searched(recipe.changed({"tune": graph}), tmp_path)


def test_a_file_in_the_way_is_named_before_anything_is_read(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "best.yaml").write_text("mine")
    with pytest.raises(InputError, match="exists already: --overwrite replaces it"):
        tune(recipe, 1, f"sqlite:///{tmp_path / 'search.db'}", tmp_path / "best.yaml", show=False)
    assert [path.name for path in tmp_path.iterdir()] == ["best.yaml"]
