"""The door of users: training from Python takes three lines, and importing the package costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import llmrec_peft
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe import load_recipe as load_strictly

ROOT = Path(__file__).resolve().parents[1]
FAST = {"training.epochs": 1, "training.refit": False, "evaluation.bootstrap": 0, "evaluation.blend": False}


def python(code: str, cwd: Path) -> str:
    """Run code in a fresh process and return what it prints; its standard error on failure."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.trains
def test_training_evaluating_and_recommending_from_python(tiny_backbone: Path, tmp_path: Path) -> None:
    changes = {**FAST, "backbone.name": str(tiny_backbone)}
    code = f"""
import json, llmrec_peft
recipe = llmrec_peft.load_recipe("movies", {changes!r}, data="demo")
metrics = llmrec_peft.train(recipe, run="runs/movies", quiet=True).metrics
recommender = llmrec_peft.Recommender.from_pretrained("runs/movies")
[found] = recommender.recommend(["1"], k=5)
report = llmrec_peft.evaluate("runs/movies")
print(json.dumps([metrics["test"]["after"], report["stored"], report["repeats"], found.user_id, len(found.items)]))
"""
    after, stored, repeats, user, count = json.loads(python(code, tmp_path))
    assert after == stored
    assert (repeats, user, count) == (True, "1", 5)
    assert after == json.loads((tmp_path / "runs/movies/metrics.json").read_text(encoding="utf-8"))["test"]["after"]


@pytest.mark.trains
def test_importing_the_package_imports_no_torch(tmp_path: Path) -> None:
    heavy = "('torch', 'peft', 'transformers', 'datasets', 'numpy', 'pandas', 'pydantic')"
    code = f"import sys, llmrec_peft; dir(llmrec_peft); print([name for name in {heavy} if name in sys.modules])"
    assert python(code, tmp_path).strip() == "[]"


@pytest.mark.trains
def test_loading_a_recipe_imports_no_torch(tmp_path: Path) -> None:
    code = "import sys, llmrec_peft; llmrec_peft.load_recipe('movies', data='demo'); print('torch' in sys.modules)"
    assert python(code, tmp_path).strip() == "False"


def test_every_promised_name_is_there_and_documented() -> None:
    promised = {"Dataset", "Engine", "InputError", "Recommender", "__version__", "evaluate", "load_recipe", "train"}
    assert set(llmrec_peft.__all__) == promised
    assert dir(llmrec_peft) == sorted(llmrec_peft.__all__)
    for name in set(llmrec_peft.__all__) - {"__version__"}:
        assert (getattr(llmrec_peft, name).__doc__ or "").strip(), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = llmrec_peft.nothing


def test_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert llmrec_peft.__version__ == project["version"]


def test_recipe_is_the_one_that_the_command_loads(tmp_path: Path) -> None:
    changes = {"seed": 7, "adapter.method": "dora", "data.graph": tmp_path}
    found = llmrec_peft.load_recipe("movies", changes, data="demo")
    assert isinstance(found, Recipe)
    overrides = ["seed=7", "adapter.method=dora", f"data.graph={tmp_path}"]
    assert found == load_strictly("movies", overrides, {"data.path": "demo"})


def test_recipe_is_read_from_a_file_by_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(llmrec_peft.load_recipe("movies", {"seed": 3}).to_yaml(), encoding="utf-8")
    assert llmrec_peft.load_recipe(file, data=tmp_path).seed == 3
    assert llmrec_peft.load_recipe(file, data=tmp_path).data.path == str(tmp_path)


@pytest.mark.parametrize(
    ("source", "changes", "said"),
    [
        ("film", {}, "unknown recipe 'film': did you mean|unknown recipe 'film'"),
        ("movies", {"training.epoch": 3}, "unknown field 'training.epoch': did you mean 'epochs'"),
        ("movies", {"adapter.method": "lroa"}, "did you mean 'lora'"),
        (Path("no.yaml"), {}, "no recipe file no.yaml"),
    ],
)
def test_wrong_input_is_one_line(source: str | Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(llmrec_peft.InputError, match=said) as caught:
        llmrec_peft.load_recipe(source, changes, data="demo")
    assert "\n" not in str(caught.value)


def test_recipe_that_was_not_loaded_is_a_type_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="load it first"):
        llmrec_peft.train("movies", run=tmp_path / "run")  # type: ignore[arg-type]


def test_a_run_folder_in_the_place_of_data_is_refused(tmp_path: Path) -> None:
    recipe = llmrec_peft.load_recipe("movies", data="demo")
    for folder in (str(tmp_path / "run"), tmp_path / "run"):
        with pytest.raises(llmrec_peft.InputError, match=r"name the run folder by train\(recipe, run=\.\.\.\)"):
            llmrec_peft.train(recipe, folder)  # type: ignore[arg-type]


def test_a_recipe_of_a_writer_is_refused_before_it_trains(tmp_path: Path, tiny_backbone: Path) -> None:
    changes = {"head": {"name": "explanation"}, "backbone.name": str(tiny_backbone)}
    recipe = llmrec_peft.load_recipe("ecommerce", changes, data="demo")
    with pytest.raises(
        llmrec_peft.InputError, match=r"use llmrec train .* then llmrec explain .* --writer DIR"
    ) as caught:
        llmrec_peft.train(recipe, run=tmp_path / "runs" / "run")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_prints_in_one_line() -> None:
    said = repr(llmrec_peft.load_recipe("movies", {"seed": 3}, data="demo"))
    assert said == (
        "Recipe 'movies': rating from text, collaborative, graph; lora in minilm; data movies at demo, official split;"
        " seed 3"
    )


def test_evaluating_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(llmrec_peft.InputError, match="is no run folder"):
        llmrec_peft.evaluate(str(tmp_path))
