"""``figures.json`` beside recipes: what is there is valid, and a row that contradicts itself is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation import measures
from llmrec_peft.recipe import load_recipe, measurements
from llmrec_peft.recipe.described import described
from llmrec_peft.recipe.measurements import FILE, measurements_of, read_measurements

Write = Callable[[Any], Path]


@pytest.fixture
def example() -> dict[str, Any]:
    """The example that the module's docstring shows."""
    found = re.search(r"^    (\{.*?\}\]\})$", measurements.__doc__ or "", re.DOTALL | re.MULTILINE)
    assert found is not None
    told: dict[str, Any] = json.loads(found[1])
    return told


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(values: Any) -> Path:
        file = tmp_path / FILE
        file.write_text(json.dumps(values), encoding="utf-8")
        return file

    return written


def test_the_example_of_the_docstring_is_read(example: dict[str, Any], write: Write) -> None:
    [one] = read_measurements(write(example))
    assert one.command == "llmrec train games --data data/steam-200k --set seed=SEED"
    assert one.result is not None
    assert one.result.test.served.mean == pytest.approx(0.33)
    assert one.result.served_minus_best_baseline is not None
    assert one.result.served_minus_best_baseline.significant


def test_without_a_file_nothing_was_measured(tmp_path: Path) -> None:
    assert read_measurements(tmp_path / FILE) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda result: result.update(loses=True), "loses is True, but ndcg@10 is 0.33 served and 0.3 of the baseline"),
        (lambda result: result.update(metric="rmse"), "loses is False, but rmse is 0.33 served"),
        (lambda result: result.update(seeds=[1, 2]), "best_baseline has 3 figures of 2 seeds"),
        (lambda result: result.update(hours=3), "unknown field 'measurements.0.result.hours'"),
        (lambda result: result["test"].pop("served"), "test.served.figures: Fields required"),
        (lambda result: result["tuned_minus_frozen"].update(unit="film"), "tuned_minus_frozen.unit"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(
    example: dict[str, Any], write: Write, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    change(example["measurements"][0]["result"])
    file = write(example)
    with pytest.raises(InputError) as caught:
        read_measurements(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_stands_there_once(example: dict[str, Any], write: Write) -> None:
    with pytest.raises(InputError, match="a recipe stands there twice"):
        read_measurements(write({"measurements": example["measurements"] * 2}))


def test_what_is_better_is_what_evaluation_says() -> None:
    assert {*measurements.LOWER_IS_BETTER, "ece"} == set(measures.LOWER_IS_BETTER)


def test_every_measurement_is_of_a_recipe_of_its_folder() -> None:
    files = {registry.get("recipes", name).with_name(FILE): name for name in registry.plugins("recipes")}
    for file in files:
        for one in read_measurements(file):
            assert registry.get("recipes", one.recipe).parent == file.parent
            load_recipe(one.recipe, changes=one.set)


@pytest.mark.parametrize("name", registry.plugins("recipes"))
def test_each_recipe_is_described(name: str) -> None:
    about = described(name)
    assert about["data"]
    assert about["heads"]
    assert about["domain"] in registry.plugins("recipes")
    assert len(about["measured"]) == len(measurements_of(name))
    json.dumps(about)
