"""The matrices in `benchmarks/`: each expands, each names what it is to cover, and finds its data where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec_peft import registry
from llmrec_peft.benchmark.cells import Cell, load_matrix
from llmrec_peft.recipe import DEMO

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
MATRICES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
FOR_USERS = "gpu-12gb"
"""Some of its data are not redistributable samples: whoever runs it has them."""


def cells_of(name: str, data: Path | None = None) -> list[Cell]:
    return load_matrix(FOLDER / f"{name}.yaml", data)[1]


def shipped(kind: str) -> set[str]:
    """Names of the plugins that this package brings itself."""
    return {name for name, one in registry.plugins(kind).items() if one.package.startswith("llmrec-peft ")}


@pytest.mark.parametrize("name", MATRICES)
def test_a_committed_matrix_expands_and_says_its_command(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    matrix, cells = load_matrix(FOLDER / f"{name}.yaml")
    assert matrix.name == name
    assert matrix.description
    assert f"llmrec bench benchmarks/{name}.yaml" in text
    assert len({cell.file for cell in cells}) == len(cells)


@pytest.mark.parametrize("name", [name for name in MATRICES if name != FOR_USERS])
def test_a_committed_matrix_finds_its_data(name: str, shared_data: Path) -> None:
    for cell in cells_of(name, shared_data):
        for folder in (cell.recipe.data.path, cell.recipe.data.graph):
            assert folder is None or folder == DEMO or Path(folder).is_dir(), f"{cell.title}: {folder}"


def test_quick_needs_no_data_and_has_its_references() -> None:
    cells = cells_of("quick")
    assert len(cells) >= 4
    assert {cell.recipe.data.path for cell in cells} == {DEMO}
    assert {"none", "full"} < {cell.axes["adapter"] for cell in cells}
    assert all(cell.recipe.evaluation.collaborative_only for cell in cells)


def test_cold_products_have_every_shipped_method() -> None:
    assert {cell.recipe.adapter.method for cell in cells_of("methods-cold-products")} == shipped("adapters")


def test_precision_has_four_formats_of_both_backbones() -> None:
    cells = {(cell.axes["backbone"], cell.axes["precision"]) for cell in cells_of("precision")}
    assert cells == {(base, form) for base in ("minilm", "smollm2") for form in ("fp32", "bf16", "int8", "nf4")}


def test_domains_has_every_domain() -> None:
    def domain(recipe: str) -> str:
        return str(registry.get("recipes", recipe).parent.name)

    covered = {domain(cell.recipe.name) for cell in cells_of("domains")}
    assert covered == {domain(recipe) for recipe in shipped("recipes")}


def test_gpu_12gb_has_every_recipe_of_that_size() -> None:
    assert {cell.recipe.name for cell in cells_of(FOR_USERS)} == {
        name for name in shipped("recipes") if name.endswith("-7b")
    }
