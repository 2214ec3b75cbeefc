"""Expansion of a matrix: axes, rules, excludes, options that fit, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.benchmark.cells import chosen, expand, load_matrix
from llmrec_peft.benchmark.markdown_report import as_markdown
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.report import read_report
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import load_recipe
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
        ({"rules": [{"when": {"model": "x"}}]}, ["rules.0.when.model", "no axis is called so"]),
        ({"axes": {"training.epoch": [1, 2]}}, ["training.epoch", "'epochs'"]),
        ({"axes": {"training.epochs": []}}, ["axes.training.epochs: no value is listed"]),
        ({"axes": {"seed": [1]}}, ["axes.seed: `seeds` sets it already"]),
        ({"axes": {"adapter.method": ["lora"]}}, ["axes.adapter.method: `adapters` sets it already"]),
        ({"axes": {"group": ["a"]}}, ["axes.group: an axis is a dotted field"]),
        ({"adapters": None, "adapter_set": {"rank": 4}}, ["adapter_set", "`adapters`"]),
        ({"groups": {"big": {"training.epoch": 3}}}, ["cell movies minilm none fp32 big seed 1", "training.epoch"]),
        ({"comparisons": [{"first": {"grop": "a"}}]}, ["comparisons.0.first.grop: no axis is called so"]),
        ({"comparisons": [{"metrics": ["rsme"]}]}, ["comparisons.0.metrics", "'rsme'", "did you mean 'rmse'"]),
        ({"comparisons": [{"resamples": 0}]}, ["comparisons.0.resamples"]),
        ({"recipes": [{"recipe": "movies", "metrics": ["acu"]}]}, ["recipes.0.metrics", "did you mean 'auc'"]),
        ({"recipes": [{"recipe": "movies", "published": {"X": "best"}}]}, ["recipes.0.published", "best"]),
        ({"recipes": [{"recipe": "movies", "published": {"X": {"acu": 0.7}}}]}, ["recipes.0.published.X", "'acu'"]),
        ({"recipes": [{"recipe": "movies", "aims": {"rmse": "low"}}]}, ["recipes.0.aims", "low"]),
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


def test_axes_are_dotted_fields_and_a_task_has_its_own() -> None:
    plain = {
        "name": "m",
        "axes": {"training.epochs": [1, 2], "data.split_seed": [5]},
        "recipes": [
            {"recipe": "movies", "label": "a", "seeds": [7, 8]},
            {"recipe": "movies", "label": "b", "axes": {"training.epochs": [9], "fusion.hidden": [4]}},
        ],
    }
    cells = expand(Matrix.from_plain(plain, "m.yaml"), Path("m.yaml"))
    assert [cell.title for cell in cells] == [
        "a epochs 1 split_seed 5 seed 7",
        "a epochs 1 split_seed 5 seed 8",
        "a epochs 2 split_seed 5 seed 7",
        "a epochs 2 split_seed 5 seed 8",
        "b epochs 9 hidden 4 split_seed 5 seed 1",
    ]
    recipe = cells[-1].recipe
    assert (recipe.training.epochs, recipe.fusion.hidden, recipe.data.split_seed, recipe.seed) == (9, 4, 5, 1)
    assert len({cell.key for cell in cells}) == 5


def test_without_axes_of_that_name_a_recipes_own_backbone_adapter_and_precision_stand() -> None:
    plain = {"name": "m", "recipes": ["movies"], "set": {"adapter.rank": 3, "backbone.quantization": "int8"}}
    (cell,) = expand(Matrix.from_plain(plain, "m.yaml"), Path("m.yaml"))
    own = load_recipe("movies").plain()
    assert cell.axes == {"recipe": "movies", "seed": 1}
    assert cell.recipe.plain()["adapter"] == {**own["adapter"], "rank": 3}
    assert cell.recipe.backbone.quantization == "int8"
    assert cell.recipe.backbone.precision == own["backbone"]["precision"]


def test_a_group_names_settings_and_rules_may_ask_for_it() -> None:
    plain = {
        "name": "m",
        "recipes": ["movies", {"recipe": "movies", "label": "other", "groups": {"deep": {"training.epochs": 9}}}],
        "groups": {"tuned": {}, "frozen": {"adapter.method": "none", "training.epochs": 4}},
        "set": {"training.epochs": 2},
        "rules": [{"when": {"group": "tuned"}, "set": {"adapter.rank": 2}}],
    }
    cells = expand(Matrix.from_plain(plain, "m.yaml"), Path("m.yaml"))
    assert [cell.title for cell in cells] == ["movies tuned seed 1", "movies frozen seed 1", "other deep seed 1"]
    assert [cell.recipe.training.epochs for cell in cells] == [2, 4, 9]
    assert [cell.recipe.adapter.method for cell in cells] == ["lora", "none", "lora"]
    assert cells[0].recipe.plain()["adapter"]["rank"] == 2


def test_a_task_may_name_several_folders_below_the_data(tmp_path: Path) -> None:
    recipes = [{"recipe": "movies", "data": {"path": "ml-100k", "graph": "ml-100k-kg"}}]
    matrix = Matrix.from_plain({"name": "m", "recipes": recipes}, "m.yaml")
    (cell,) = expand(matrix, Path("m.yaml"), tmp_path)
    assert (cell.recipe.data.path, cell.recipe.data.graph) == (str(tmp_path / "ml-100k"), str(tmp_path / "ml-100k-kg"))


def test_published_figures_are_numbers_or_blocks_by_metric() -> None:
    published = {"A": 0.9, "B": {"rmse": 0.8, "mae": 0.7, "source": "a paper"}}
    matrix = Matrix.from_plain({"name": "m", "recipes": [{"recipe": "movies", "published": published}]}, "m.yaml")
    of = matrix.recipes[0].published
    assert of["A"].figures == {"primary": 0.9}
    assert (of["B"].figures, of["B"].source) == ({"rmse": 0.8, "mae": 0.7}, "a paper")
    again = Matrix.from_plain(matrix.model_dump(mode="json", exclude_defaults=True), "results.json")
    assert again == matrix, "what a report keeps of a matrix is that matrix"


@pytest.mark.parametrize("name", ["movies-u1", "movies-cold-items", "clicks-and-rankings", "methods"])
def test_a_committed_result_has_the_rows_that_its_matrix_expands_to(name: str) -> None:
    folder = Path(__file__).parents[2] / "benchmarks"
    matrix, cells = load_matrix(folder / f"{name}.yaml", Path("data"))
    report = read_report(folder / "results" / f"{name}.json")
    assert [row["axes"] for row in report["rows"]] == [cell.axes for cell in cells]
    assert Matrix.from_plain(report["matrix"], "results") == matrix
    assert as_markdown(report) == (folder / "results" / f"{name}.md").read_text(encoding="utf-8")


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


def test_a_matrix_of_more_cells_than_anybody_measures_is_refused_at_once() -> None:
    axes = {f"training.{field}": list(range(1, 60)) for field in ("epochs", "batch_size", "patience", "accumulate")}
    with pytest.raises(InputError, match="a matrix has at most 10,000"):
        expanded(axes=axes)
