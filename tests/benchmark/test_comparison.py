"""Comparisons over real tiny runs: groups on one test part, on several splits, and against a run's own baselines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_peft.artifact.predictions import read_predictions
from llmrec_peft.benchmark.cell import accuracy
from llmrec_peft.benchmark.cells import Cell, chosen, expand
from llmrec_peft.benchmark.comparison import compare_all, pairs
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.process import COMPARED, Places
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.rating_metrics import rmse
from llmrec_peft.workflows.train import train

pytestmark = pytest.mark.trains

COMPARISONS = [
    {"models": ["after", "blend"], "against": "best_baseline", "metrics": ["rmse", "auc"], "resamples": 50},
    {"first": {"group": "thin"}, "against": {"group": "bare"}, "resamples": 50},
]


def matrix_of(tiny_backbone: Path, tiny_data: Path, **changes: Any) -> tuple[Matrix, list[Cell]]:
    plain = {
        "name": "m",
        "recipes": [{"recipe": "movies", "label": "films", "data": str(tiny_data)}],
        "groups": {"thin": {"adapter.rank": 2}, "bare": {"adapter.method": "none"}},
        "set": {
            "backbone.name": str(tiny_backbone),
            "backbone.precision": "fp32",
            "training.epochs": 1,
            "training.refit": False,
            "signals.graph": False,
            "evaluation.ablations": [],
            "evaluation.bootstrap": 0,
        },
        "comparisons": COMPARISONS,
        "timing": None,
        **changes,
    }
    matrix = Matrix.from_plain(plain, "m.yaml")
    return matrix, expand(matrix, Path("m.yaml"))


@pytest.fixture(scope="module")
def measured(
    tiny_backbone: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Matrix, list[Cell], list[dict[str, Any]], Path]:
    """Two groups on two seeds, trained here as a cell's process would."""
    matrix, cells = matrix_of(tiny_backbone, tiny_data, seeds=[1, 2])
    out = tmp_path_factory.mktemp("compared")
    return matrix, cells, [measure(cell, out) for cell in cells], out


def measure(cell: Cell, out: Path) -> dict[str, Any]:
    places = Places.of(cell, out)
    metrics = train(cell.recipe, places.run, show=False)
    places.keep_predictions()
    return {"axes": cell.axes, "key": cell.key, "status": "ok", "accuracy": accuracy(metrics, None)}


def records(measured: tuple[Matrix, list[Cell], list[dict[str, Any]], Path], **changes: Any) -> list[dict[str, Any]]:
    matrix, cells, rows, out = measured
    matrix = matrix.model_copy(update=changes)
    return compare_all(pairs(matrix, cells), rows, out, show=False)


Measured = tuple[Matrix, list[Cell], list[dict[str, Any]], Path]


def test_each_row_against_its_best_baseline_and_one_group_against_another(measured: Measured) -> None:
    found = records(measured)
    thin, bare = {"recipe": "films", "group": "thin"}, {"recipe": "films", "group": "bare"}
    asked = [(one["first"], one["against"], one["model"], one["metric"]) for one in found]
    assert asked == [
        *((group, "best_baseline", model, "rmse") for group in (thin, bare) for model in ("after", "blend")),
        (thin, bare, "after", "rmse"),
    ], "metrics of other tasks are left out"
    rows = measured[2]
    of = {name: [row["accuracy"] for row in rows if row["axes"]["group"] == name] for name in ("thin", "bare")}
    ours = np.mean([one["test"]["after"]["rmse"] for one in of["thin"]])
    best = np.mean([one["test"][one["best_baseline"]]["rmse"] for one in of["thin"]])
    other = np.mean([one["test"]["after"]["rmse"] for one in of["bare"]])
    assert found[0]["difference"] == pytest.approx(ours - best, abs=1e-6)
    assert found[-1]["difference"] == pytest.approx(ours - other, abs=1e-6)
    for one in found:
        assert set(one["intervals"]) == {"by_user", "by_item"}
        assert all(part["low"] <= part["high"] for part in one["intervals"].values())


def test_what_was_compared_is_kept_when_the_predictions_are_gone(measured: Measured, tmp_path: Path) -> None:
    matrix, cells, rows, out = measured
    first = records(measured)
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    assert {path.name for path in (copy / "predictions").iterdir()} == {Places.of(c, out).kept.name for c in cells}
    assert {path.name for path in next((copy / "predictions").iterdir()).iterdir()} == set(COMPARED)
    shutil.rmtree(copy / "predictions")
    assert compare_all(pairs(matrix, cells), rows, copy, show=False) == first
    shutil.rmtree(copy / "comparisons")
    left = compare_all(pairs(matrix, cells), rows, copy, show=False)
    assert all("were not kept: --overwrite" in one["left_out"] for one in left)


def test_a_row_that_failed_leaves_its_comparison_out_and_says_so(measured: Measured) -> None:
    matrix, cells, rows, out = measured
    failed = [{**row, "status": "failed"} if row["axes"] == cells[-1].axes else row for row in rows]
    found = compare_all(pairs(matrix, cells), failed, out, show=False)
    assert [one.get("left_out") for one in found][-1] == "not measured: films bare seed 2"
    assert "difference" in found[0]


def test_some_cells_are_compared_among_themselves(measured: Measured) -> None:
    matrix, cells, rows, out = measured
    some = chosen(cells, "thin seed 1")
    found = compare_all(pairs(matrix, some, cells), rows, out, show=False)
    assert [one["first"] for one in found] == [{"recipe": "films", "group": "thin"}] * 2, "without the other group"
    assert "one run a side" in json.dumps(found[0]["notes"]) or found[0]["intervals"]["by_user"]["first_seeds"] == 1


def test_groups_on_several_splits_are_compared_over_all_their_examples(
    tiny_backbone: Path, tiny_data: Path, tmp_path: Path
) -> None:
    matrix, cells = matrix_of(
        tiny_backbone,
        tiny_data,
        axes={"data.split_seed": [3, 4]},
        set={
            "backbone.name": str(tiny_backbone),
            "backbone.precision": "fp32",
            "data.split": "cold-item",
            "training.epochs": 1,
            "training.refit": False,
            "signals.graph": False,
            "evaluation.ablations": [],
            "evaluation.bootstrap": 0,
        },
    )
    rows = [measure(cell, tmp_path) for cell in cells]
    found = compare_all(pairs(matrix, cells), rows, tmp_path, show=False)
    (against,) = [one for one in found if isinstance(one["against"], dict)]
    scores: dict[str, list[np.ndarray]] = {"thin": [], "bare": []}
    labels = []
    for cell in cells:
        predictions = read_predictions(Places.of(cell, tmp_path).kept / "predictions.parquet")
        (head,) = predictions.heads.values()
        scores[cell.axes["group"]].append(head.models["after"])
        labels += [predictions.label] if cell.axes["group"] == "thin" else []
    pooled = [rmse(np.concatenate(scores[name]), np.concatenate(labels)) for name in ("thin", "bare")]
    assert against["difference"] == pytest.approx(pooled[0] - pooled[1], abs=1e-6)
    items = [Places.of(cell, tmp_path).kept for cell in cells if cell.axes["group"] == "thin"]
    distinct = sum(len(set(read_predictions(folder / "predictions.parquet").item)) for folder in items)
    assert against["intervals"]["by_item"]["clusters"] == distinct, "an item of each split is a cluster"
    assert "2 splits together" in against["notes"][0]
    assert all("difference" in one for one in found), "baselines are compared over the splits, too"


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        ({"first": {"group": "fat"}}, ["comparisons.0.first: no cell has group fat"]),
        ({"first": {"group": "thin"}, "against": {"group": "fat"}}, ["comparisons.0.against", "group fat"]),
    ],
)
def test_a_comparison_that_no_cell_answers_to_is_refused(
    comparison: dict[str, Any], words: list[str], tiny_backbone: Path, tiny_data: Path
) -> None:
    matrix, cells = matrix_of(tiny_backbone, tiny_data, comparisons=[comparison])
    with pytest.raises(InputError) as raised:
        pairs(matrix, cells)
    for word in words:
        assert word in str(raised.value)
