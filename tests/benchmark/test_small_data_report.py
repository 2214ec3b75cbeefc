"""The tables of the benchmark of small data: written from the committed result, adjusted for many comparisons."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def room() -> ModuleType:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(BENCHMARKS)
        return importlib.import_module("small_data_report")


def test_the_committed_tables_are_those_of_the_committed_result(room: ModuleType) -> None:
    result = BENCHMARKS / "results" / "small_data.json"
    rows = json.loads(result.read_text(encoding="utf-8"))["cells"]
    assert result.with_suffix(".md").read_text(encoding="utf-8") == room.report(rows)


def test_a_p_value_is_that_of_the_intervals_standard_error(room: ModuleType) -> None:
    assert room.p_value({"difference": -1.0, "low": -2.0, "high": 0.0}) == pytest.approx(0.05, abs=1e-4)
    assert room.p_value({"difference": 0.0, "low": -2.0, "high": 2.0}) == 1.0
    assert room.p_value({"difference": 0.0, "low": 0.0, "high": 0.0}) == 1.0


def test_holm_steps_down_keeps_the_order_and_never_decreases(room: ModuleType) -> None:
    # the smallest of four times 4, the next times 3, …; the last is not below the one before it
    assert room.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert room.holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("difference", "metric", "said"),
    [(0.1, "rmse", "worse"), (-0.1, "rmse", "better"), (0.1, "auc", "better"), (-0.1, "auc", "worse")],
)
def test_a_verdict_knows_which_way_its_metric_goes(difference: float, metric: str, said: str, room: ModuleType) -> None:
    assert room.verdict({"difference": difference}, metric, significant=True) == said
    assert room.verdict({"difference": difference}, metric, significant=False) == "no difference"
