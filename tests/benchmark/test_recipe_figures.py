"""Figures of recipes: finished runs become a measurement beside the recipe, by one command."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe
from llmrec_peft.recipe.measurements import FILE, Measurement, read_measurements
from llmrec_peft.workflows.train import train

ROOT = Path(__file__).resolve().parents[2]


def room(name: str) -> ModuleType:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(ROOT / "benchmarks")
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def runs(tiny_data: Path, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of `movies` on made-up files in MovieLens' layout."""
    folder = tmp_path_factory.mktemp("measured")
    few = [f"backbone.name={tiny_backbone}", "training.epochs=1", "training.refit=false", "evaluation.bootstrap=0"]
    for seed in (1, 2):
        recipe = load_recipe("movies", [*few, f"seed={seed}"], {"data.path": str(tiny_data)})
        train(recipe, folder / f"seed{seed}", show=False)
    return [folder / "seed1", folder / "seed2"]


@pytest.fixture(scope="module")
def measured(runs: list[Path]) -> Measurement:
    found: Measurement = room("recipe_figures").measurement_of(runs)
    return found


def metrics(run: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return told


def test_figures_are_those_of_the_runs(runs: list[Path], measured: Measurement) -> None:
    result = measured.result
    assert result is not None
    assert (measured.recipe, measured.data, result.seeds, result.metric) == ("movies", "ml", (1, 2), "rmse")
    tests = [metrics(run)["test"] for run in runs]
    assert result.test.tuned.figures == tuple(round(test["after"]["rmse"], 6) for test in tests)
    assert result.test.collaborative_only is not None
    assert result.test.collaborative_only.figures == tuple(
        round(test["baselines"]["biased_mf"]["rmse"], 6) for test in tests
    )
    apart, best = result.served_minus_best_baseline, result.test.best_baseline
    assert apart is not None
    assert apart.difference == pytest.approx(result.test.served.mean - best.mean, abs=1e-5)
    assert apart.low < apart.difference < apart.high
    assert result.loses == (result.test.served.mean >= best.mean)
    assert result.adapter_parameters > 0


def test_settings_that_differ_from_the_shipped_recipe_are_named(measured: Measurement) -> None:
    assert set(measured.set) == {"backbone.name", "training.epochs", "training.refit"}


def test_the_best_baseline_is_chosen_on_validation_and_is_no_model_of_the_recipe(runs: list[Path]) -> None:
    report = metrics(runs[0])
    for part in ("valid", "test"):
        report[part]["baselines"]["collaborative_only"] = {"rmse": 0.1}
        report[part]["baselines"]["biased_mf_by_folds"] = {"rmse": 0.1}
    report["valid"]["baselines"]["item_mean"] = {"rmse": 0.2}
    report["test"]["baselines"]["item_mean"] = {"rmse": 9.0}
    assert room("recipe_figures").best_baseline(report) == "item_mean"


def test_runs_of_other_settings_are_no_seeds(
    runs: list[Path], tiny_data: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    few = [f"backbone.name={tiny_backbone}", "training.epochs=2", "training.refit=false", "evaluation.bootstrap=0"]
    train(load_recipe("movies", few, {"data.path": str(tiny_data)}), tmp_path / "other", show=False)
    with pytest.raises(InputError, match="another recipe, other data or settings than"):
        room("recipe_figures").measurement_of([runs[0], tmp_path / "other"])


def test_made_up_data_is_no_measurement(tmp_path: Path, quick_run: Any) -> None:
    with pytest.raises(InputError, match="was trained on made-up data"):
        room("recipe_figures").measurement_of([quick_run("movies", {})])


def test_a_measurement_replaces_the_earlier_one(
    measured: Measurement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = room("recipe_figures")
    folder = tmp_path / "movies"
    shutil.copytree(ROOT / "recipes" / "llmrec_recipes" / "movies", folder)
    before = read_measurements(folder / FILE)
    monkeypatch.setattr(figures, "recipe_path", lambda name: folder / "recipe.yaml")
    for _ in range(2):
        assert figures.write_measurement(measured) == folder / FILE
        assert read_measurements(folder / FILE) == (*before, measured)
