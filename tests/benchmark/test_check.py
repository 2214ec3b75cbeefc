"""A contributed result is held against itself, the files beside it, and the predictions that figures follow from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_results import KEPT, result_of, written
from made_up_rows import rows_of
from resealed import resealed

from llmrec_peft.artifact.predictions import NAME
from llmrec_peft.benchmark.check import Checked, check
from llmrec_peft.cli.main import main
from llmrec_peft.errors import InputError


def edited(folder: Path, edit: Callable[[dict[str, Any]], None]) -> Checked:
    """Check a report after a change of its JSON."""
    report = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    edit(report)
    (folder / "results.json").write_text(json.dumps(report), encoding="utf-8")
    return check(folder)


def test_a_result_that_agrees_with_itself_is_right_and_its_totals_are_told(tmp_path: Path) -> None:
    found = check(written(tmp_path / "out", rows_of({"none": [0.96, 0.97], "lora": [0.9, 0.91]})))
    assert found.wrong == ()
    assert (found.cells, found.measured, found.recomputed) == (4, 4, 0)
    assert found.notes == ("4 of 4 measured cells have no predictions to compute from",)
    assert [one["beats_best_baseline"] for one in found.totals] == [False, True]


def _of_row(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def edit(report: dict[str, Any]) -> None:
        report["rows"][0] |= changes

    return edit


def _of_accuracy(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def edit(report: dict[str, Any]) -> None:
        report["rows"][0]["accuracy"] |= changes

    return edit


INTERVAL = {"difference": -0.05, "low": -0.1, "high": -0.01, "excludes_zero": False}
COMPARISON = {
    "first": {"recipe": "films"},
    "against": "best_baseline",
    "model": "after",
    "metric": "rmse",
    "difference": -0.05,
    "intervals": {"by_user": {**INTERVAL, "excludes_zero": True}},
    "verdict": "no difference",
}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_of_accuracy(lower_is_better=False), "of rmse lower values are better"),
        (_of_accuracy(best_baseline="user_mean"), "user_mean is called the best baseline, but bias is better"),
        (_of_accuracy(n=99), "n is 99, but the test part has 100"),
        (_of_accuracy(comparisons={"after_minus_bias": {"by_user": INTERVAL}}), "excludes_zero is not what"),
        (_of_accuracy(comparisons={"after_minus_bias": {"by_user": INTERVAL}}), "the difference is -0.05, that of"),
        (_of_row(parameters={"adapter": 9, "trainable": 3, "total": 5}), "adapter is 9, more than trainable, 3"),
        (_of_row(latency_ms={"score_1": {"p50": 3.0, "p95": 2.0}}), "latency_ms.score_1: p50 is 3, more than p95, 2"),
        (lambda report: report["totals"][0].update(beats_best_baseline=True), "totals do not follow from the rows"),
        (lambda report: report.update(date="2027-01-01"), "date is 2027-01-01, that of the newest row 2026-01-02"),
        (lambda report: report.update(name="other"), "name is 'other', that of the matrix 'tiny'"),
        (lambda report: report["rows"].append(report["rows"][0]), "stands twice"),
        (lambda report: report.update(comparisons=[COMPARISON]), "the verdict is 'no difference', but"),
        (lambda report: report["rows"][0]["accuracy"]["test"].update(after={"rmse": 0.5}), "results.csv: test_after"),
    ],
)
def test_what_contradicts_itself_is_named(edit: Callable[[dict[str, Any]], None], words: str, tmp_path: Path) -> None:
    found = edited(written(tmp_path / "out", rows_of({"none": [0.96, 0.97]})), edit)
    assert [line for line in found.wrong if words in line], found.wrong


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "results.json"
    link.symlink_to(written(tmp_path / "out", rows_of({"none": [0.9]})) / "results.json")
    with pytest.raises(InputError, match="is a link"):
        check(link)
    for text in ("", "[]", '{"axes": {}, "status": "ok"}', '{"rows": []}'):
        file = tmp_path / "r.json"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"r\.json"):
            check(file)


def test_exit_codes_are_0_1_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def code(*arguments: object) -> object:
        with pytest.raises(SystemExit) as ended:
            main(["bench", "check", *map(str, arguments)])
        return ended.value.code

    out = written(tmp_path / "out", rows_of({"none": [0.96, 0.97]}))
    assert code(out) == 0
    told = capsys.readouterr().out
    assert "films none ▼" in told
    assert "nothing is wrong; 2 of 2 cells are measured, and figures are taken on trust" in told
    report = out / "results.json"
    report.write_text(report.read_text(encoding="utf-8").replace("0.96", "0.86"), encoding="utf-8")
    assert code(report, "--json") == 1
    assert json.loads(capsys.readouterr().out)["wrong"]
    assert code(tmp_path / "absent.json") == 2


@pytest.mark.trains
def test_figures_follow_from_predictions_or_are_named(tiny_run: Path, tmp_path: Path) -> None:
    folder = result_of(tiny_run, tmp_path / "out")
    found = check(folder)
    assert (found.wrong, found.notes, found.recomputed) == ((), (), 1)
    cell = folder / "cells" / f"{KEPT}.json"
    cell.parent.mkdir()
    report = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    row = {**report["rows"][0], "hardware": report["hardware"][0], "versions": report["versions"][0]}
    cell.write_text(json.dumps(row), encoding="utf-8")
    assert check(cell).recomputed == 1, "a cell by itself"

    stated = report["rows"][0]["accuracy"]["test"]["after"]["rmse"]
    better = edited(folder, lambda one: one["rows"][0]["accuracy"]["test"]["after"].update(rmse=stated - 0.01))
    assert [line for line in better.wrong if f"test rmse of after is {stated - 0.01}, but {stated:.6f} follows" in line]
    assert [line for line in better.wrong if "accuracy.test is not what the run's metrics.json says" in line]


@pytest.mark.trains
def test_changed_predictions_are_named_even_with_a_manifest_of_their_own(tiny_run: Path, tmp_path: Path) -> None:
    folder = result_of(tiny_run, tmp_path / "out")
    file = folder / "predictions" / KEPT / NAME
    table = pq.read_table(file)
    at = table.schema.names.index("rating/after")
    table = table.set_column(at, "rating/after", pa.array(table["rating/observed"].to_numpy(), pa.float32()))
    pq.write_table(table, file)
    assert [line for line in check(folder).wrong if NAME in line], "the manifest does not know these bytes"
    resealed(file.parent)
    assert [line for line in check(folder).wrong if "but 0.000000 follows from its predictions" in line]


@pytest.mark.trains
@pytest.mark.parametrize("task", ["click", "ranking"])
def test_figures_of_other_tasks_follow_from_their_predictions(
    task: str, task_runs: Callable[[str], Path], tmp_path: Path
) -> None:
    found = check(result_of(task_runs(task), tmp_path / "out"))
    assert (found.wrong, found.recomputed) == ((), 1)
