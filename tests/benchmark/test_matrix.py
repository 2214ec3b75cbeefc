"""Expansion of a matrix: axes, rules, excludes, options that fit, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.benchmark.cells import chosen, expand, load_matrix
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.errors import InputError
from llmrec_peft.recipe.yaml_file import dump_yaml

PLAIN: dict[str, Any] = {
    "name": "small",
    "recipes": ["movies"],
    "backbones": ["minilm", "smollm2"],
    "adapters": ["none", "lora", {"method": "lora", "rank": 2, "label": "thin"}],
    "precisions": ["fp32", "nf4"],
    "seeds": [1, 2],
}


def expanded(**changes: Any) -> list[Any]:
    return expand(Matrix.from_plain({**PLAIN, **changes}, "m.yaml"), Path("m.yaml"))


def test_every_combination_is_a_cell_with_its_axes_in_its_recipe() -> None:
    cells = expanded()
    assert len(cells) == 1 * 2 * 3 * 2 * 2
    assert len({cell.key for cell in cells}) == len({cell.file for cell in cells}) == len(cells)
    for cell in cells:
        recipe = cell.recipe
        assert recipe.backbone.name == cell.axes["backbone"]
        assert recipe.seed == cell.axes["seed"]
        assert recipe.backbone.quantization == ("nf4" if cell.axes["precision"] == "nf4" else "none")
        assert recipe.adapter.method == {"none": "none", "lora": "lora", "thin": "lora"}[cell.axes["adapter"]]
    assert {cell.recipe.backbone.precision for cell in cells if cell.axes["precision"] == "fp32"} == {"fp32"}
    assert {c.recipe.plain()["adapter"]["rank"] for c in cells if c.axes["adapter"] == "thin"} == {2}


def test_excludes_match_any_of_a_list_and_an_adapter_by_its_method() -> None:
    left = expanded(exclude=[{"backbone": "smollm2", "adapter": ["none", "lora"]}, {"precision": "nf4"}])
    titles = {cell.title for cell in left}
    assert titles == {f"movies minilm {a} fp32 seed {s}" for a in ("none", "lora", "thin") for s in (1, 2)}


def test_later_rules_win_and_options_reach_only_adapters_that_have_them() -> None:
    cells = expanded(
        set={"training.epochs": 3, "data.max_items": 7},
        adapter_set={"layers": "top-1", "rank": 4},
        rules=[
            {"when": {"backbone": "smollm*"}, "set": {"training.epochs": 5}, "adapter_set": {"layers": "top-3"}},
            {"when": {"backbone": "smollm2", "adapter": "none"}, "set": {"training.epochs": 6}, "seeds": [2]},
            {"when": {"seed": 1}, "limits": {"seconds": 5, "memory_gb": 1}},
        ],
    )
    of = {cell.title: cell for cell in cells}
    assert of["movies minilm lora fp32 seed 2"].recipe.training.epochs == 3
    assert of["movies smollm2 lora fp32 seed 1"].recipe.training.epochs == 5
    assert of["movies smollm2 none fp32 seed 2"].recipe.training.epochs == 6
    assert "movies smollm2 none fp32 seed 1" not in of
    plain = of["movies smollm2 thin nf4 seed 2"].recipe.plain()
    assert (plain["adapter"]["layers"], plain["adapter"]["rank"]) == ("top-3", 2), "a block's own option wins"
    assert of["movies minilm lora fp32 seed 1"].recipe.plain()["adapter"]["rank"] == 4
    assert of["movies minilm lora fp32 seed 1"].limits.seconds == 5
    assert of["movies minilm lora fp32 seed 2"].limits.seconds == 900
    assert all(cell.recipe.data.max_items == 7 for cell in cells)


def test_key_changes_with_what_is_measured_and_not_with_limits() -> None:
    key = expanded()[0].key
    assert expanded(limits={"seconds": 5})[0].key == key
    assert expanded(set={"training.epochs": 2})[0].key != key
    assert expanded(timing={"texts": 3})[0].key != key
    assert expanded(recipes=[{"recipe": "movies", "slice": "items_with_0_ratings"}])[0].key != key


def test_data_is_looked_for_below_the_folder_given_and_a_recipe_beside_the_matrix(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "examples" / "movies-cold-items.yaml"
    (tmp_path / "mine.yaml").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    recipes = [{"recipe": "mine.yaml", "data": "ml-100k"}, {"recipe": "movies", "data": "demo"}]
    (tmp_path / "m.yaml").write_text(dump_yaml({**PLAIN, "recipes": recipes}), encoding="utf-8")
    _, cells = load_matrix(tmp_path / "m.yaml", Path("/data"))
    assert {cell.recipe.data.path for cell in cells} == {"/data/ml-100k", "demo"}
    assert {cell.axes["recipe"] for cell in cells} == {"mine", "movies"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seedz": [1]}, ["m.yaml: unknown field 'seedz'", "'seeds'"]),
        ({"recipes": []}, ["m.yaml: recipes"]),
        ({"adapters": ["lroa"]}, ["m.yaml: unknown adapter method 'lroa'", "'lora'"]),
        ({"adapters": [{"rank": 3}]}, ["adapters.0", "`method`"]),
        ({"adapters": [{"method": "lora", "rnak": 3}]}, ["adapter.rnak", "'rank'"]),
        ({"precisions": ["fp8"]}, ["m.yaml: precisions.0", "fp8"]),
        ({"set": {"training.epoch": 3}}, ["training.epoch", "'epochs'"]),
        ({"recipes": ["moveis"]}, ["unknown recipe 'moveis'", "'movies'"]),
        ({"exclude": [{"adapter": "dora"}]}, ["exclude.0", "no cell has adapter dora"]),
        ({"rules": [{"when": {"model": "x"}}]}, ["rules.0.when.model"]),
        ({"rules": [{"when": {"seed": 9}}]}, ["rules.0.when", "no cell has seed 9"]),
        ({"exclude": [{"seed": [1, 2]}]}, ["every cell is excluded"]),
        ({"adapters": ["lora", "lora"]}, ["two cells are called 'movies minilm lora", "label"]),
    ],
)
def test_mistakes_are_named_in_one_line(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        expanded(**changes)
    message = str(raised.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_cells_are_chosen_by_a_part_of_their_name_or_wildcards() -> None:
    cells = expanded()
    assert len(chosen(cells, "thin")) == 8
    assert [cell.title for cell in chosen(cells, "movies minilm * nf4 seed 2")] == [
        f"movies minilm {adapter} nf4 seed 2" for adapter in ("none", "lora", "thin")
    ]
    with pytest.raises(InputError, match="--only 'dora'"):
        chosen(cells, "dora")


def test_the_shipped_matrix_expands_with_few_texts_and_one_seed_on_the_large_model() -> None:
    _, cells = load_matrix(Path(__file__).parents[2] / "benchmarks" / "methods.yaml", Path("data"))
    large = [cell for cell in cells if cell.axes["backbone"] == "smollm2"]
    assert large
    assert {cell.axes["seed"] for cell in large} == {1}
    assert {cell.axes["seed"] for cell in cells if cell.axes["backbone"] == "minilm"} == {1, 2, 3}
    for cell in large:
        assert cell.recipe.data.path == "demo" or (cell.recipe.data.max_items or 10**9) <= 1000
        assert cell.recipe.plain()["adapter"].get("layers", "top-4") == "top-4"
