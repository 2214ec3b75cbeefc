"""Two results are compared row by row: accuracy by bootstrap or over seeds, costs by ratios, both against noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_results import KEPT, result_of, written
from made_up_rows import MACHINE, made_up_row, rows_of
from resealed import resealed

from llmrec_peft.artifact.predictions import NAME
from llmrec_peft.benchmark.diff import Change, Compared, diff
from llmrec_peft.cli.main import main
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.rating_metrics import rmse

SEEDS = [0.900, 0.902, 0.904]


def compared(before: list[dict[str, Any]], after: list[dict[str, Any]], folder: Path) -> Compared:
    return diff(written(folder / "a", before), written(folder / "b", after) / "results.json", resamples=100)


def of(found: Compared, what: str) -> Change:
    (change,) = (one for one in found.changes if one.what == what)
    return change


def slower(rows: list[dict[str, Any]], factor: float) -> list[dict[str, Any]]:
    times = {"p50": 2.0 * factor, "p95": 2.2 * factor, "p99": 2.3 * factor, "n": 20}
    return [{**row, "latency_ms": {"score_1": times}} for row in rows]


def test_the_same_result_has_no_regression(tmp_path: Path) -> None:
    rows = rows_of({"lora": SEEDS})
    found = compared(rows, rows, tmp_path)
    assert found.regressions == []
    assert {one.verdict for one in found.changes} == {"noise"}
    assert of(found, "rmse").change == "the same in every run"


@pytest.mark.parametrize(
    ("later", "verdict"),
    [
        ([0.910, 0.912, 0.914], "regression"),
        ([0.890, 0.892, 0.894], "improvement"),
        ([0.902, 0.904, 0.906], "noise"),
        ([0.93], "unknown"),
    ],
)
def test_accuracy_is_compared_over_seeds_where_no_predictions_were_kept(
    later: list[float], verdict: str, tmp_path: Path
) -> None:
    found = of(compared(rows_of({"lora": SEEDS}), rows_of({"lora": later}), tmp_path), "rmse")
    assert found.verdict == verdict
    assert ("Welch over seeds" in found.change) == (len(later) > 1)


@pytest.mark.parametrize(("factor", "verdict"), [(1.08, "noise"), (1.2, "regression"), (0.8, "improvement")])
def test_latencies_are_compared_by_their_ratio(factor: float, verdict: str, tmp_path: Path) -> None:
    rows = rows_of({"lora": SEEDS})
    found = of(compared(slower(rows, 1.0), slower(rows, factor), tmp_path), "score_1, ms p50")
    assert found.verdict == verdict
    assert f"× {factor:.3f} (noise up to 10.0%: the least that counts)" in found.change


def test_a_spread_over_runs_that_is_larger_than_the_least_is_the_noise(tmp_path: Path) -> None:
    rows = rows_of({"lora": SEEDS})
    uneven = [slower([row], factor)[0] for row, factor in zip(rows, (1.0, 1.5, 2.0), strict=True)]
    found = of(compared(slower(rows, 1.0), uneven, tmp_path), "score_1, ms p50")
    assert found.verdict == "noise"
    assert "spread over runs" in found.change


def test_repetitions_of_a_single_run_are_its_noise(tmp_path: Path) -> None:
    row = made_up_row("lora", 1, 0.9)
    rough = {**row, "latency_ms": {"score_1": {"p50": 2.0, "p95": 8.0, "p99": 9.0, "n": 5}}}
    found = of(compared([rough], slower([row], 1.3), tmp_path), "score_1, ms p50")
    assert found.verdict == "noise"
    assert "repetitions in a run" in found.change


def test_memory_has_a_narrower_bound(tmp_path: Path) -> None:
    rows = rows_of({"lora": SEEDS})
    more = [{**row, "peak_memory_mb": {"rss": 540.0, "cuda": None}} for row in rows]
    assert of(compared(rows, more, tmp_path), "peak memory, MiB").verdict == "regression"


def test_memory_of_what_is_only_timed_is_no_regression_of_training(tmp_path: Path) -> None:
    earlier = rows_of({"lora": SEEDS})
    peak = earlier[0]["peak_memory_mb"]["rss"]
    phases = {"train": {"rss": peak, "cuda": None}, "answer": {"rss": 2 * peak, "cuda": None}}
    now = [{**row, "peak_memory_mb": {"rss": 2 * peak, "cuda": None, "phases": phases}} for row in earlier]
    assert of(compared(earlier, now, tmp_path), "peak memory, MiB").verdict == "noise"


def test_costs_of_other_machines_are_not_compared(tmp_path: Path) -> None:
    rows = rows_of({"lora": SEEDS})
    other = [{**row, "hardware": {**MACHINE, "processor": "Another chip"}} for row in slower(rows, 3.0)]
    found = compared(rows, other, tmp_path)
    assert [one.what for one in found.changes] == ["rmse"]
    assert found.notes == ("films lora: latencies and memory are not compared: other machines",)


def test_costs_of_cells_that_ran_beside_others_are_not_compared_with_those_of_cells_that_ran_alone(
    tmp_path: Path,
) -> None:
    rows = rows_of({"lora": SEEDS})
    beside = [{**row, "at_a_time": 2} for row in slower(rows, 3.0)]
    found = compared([{**row, "at_a_time": 1} for row in rows], beside, tmp_path)
    assert [one.what for one in found.changes] == ["rmse"]
    (note,) = found.notes
    assert note.endswith("not compared: another number of cells ran at a time (--jobs)")


def test_other_data_are_not_compared(tmp_path: Path) -> None:
    rows = rows_of({"lora": SEEDS})
    other = [{**row, "data": {**row["data"], "fingerprint": "ee" * 32}} for row in rows_of({"lora": [0.99] * 3})]
    found = compared(rows, other, tmp_path)
    assert found.changes == ()
    assert found.notes == ("films lora: not compared: they were measured on other data",)


def test_a_metric_that_is_not_defined_in_every_run_is_not_compared(tmp_path: Path) -> None:
    rows = rows_of({"lora": [0.9, float("nan")]})
    assert compared(rows, rows, tmp_path).notes == ("films lora: not compared: rmse is not defined in every run",)


def test_rows_of_one_side_are_named_and_a_row_that_fails_now_is_a_regression(tmp_path: Path) -> None:
    before = rows_of({"lora": [0.9], "none": [0.9]})
    after = [{**before[0], "status": "failed", "reason": "over 5 s"}, made_up_row("full", 1, 0.9)]
    found = compared(before, after, tmp_path)
    assert found.failed == ("films lora seed 1: failed: over 5 s",)
    assert found.notes == ("films none: only in the first result", "films full: only in the second result")
    assert found.plain()["regressions"] == 1


def test_results_without_a_common_row_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no measured row in common"):
        compared(rows_of({"lora": [0.9]}), rows_of({"none": [0.9]}), tmp_path)


def test_exit_codes_are_0_1_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def code(*arguments: object) -> object:
        with pytest.raises(SystemExit) as ended:
            main(["bench", "diff", *map(str, arguments)])
        return ended.value.code

    first = written(tmp_path / "a", rows_of({"lora": SEEDS}))
    second = written(tmp_path / "b", rows_of({"lora": [0.95, 0.951, 0.952]}))
    assert code(first, first) == 0
    assert "0 regressions beyond noise" in capsys.readouterr().out
    assert code(first, second, "--json") == 1
    assert json.loads(capsys.readouterr().out)["regressions"] == 1
    assert code(second, first) == 0, "an improvement"
    assert code(first, tmp_path / "absent") == 2


@pytest.mark.trains
def test_kept_predictions_are_compared_by_a_paired_bootstrap(tiny_run: Path, tmp_path: Path) -> None:
    first, second = (result_of(tiny_run, tmp_path / name) for name in ("a", "b"))
    kept = second / "predictions" / KEPT
    table = pq.read_table(kept / NAME)
    observed = table["rating/observed"].to_numpy()
    worse = table["rating/after"].to_numpy() + np.float32(0.8) * np.sign(table["rating/after"].to_numpy() - observed)
    place = table.schema.names.index("rating/after")
    pq.write_table(table.set_column(place, "rating/after", pa.array(worse, pa.float32())), kept / NAME)
    resealed(kept)
    report = json.loads((second / "results.json").read_text(encoding="utf-8"))
    report["rows"][0]["accuracy"]["test"]["after"]["rmse"] = rmse(worse, observed)
    (second / "results.json").write_text(json.dumps(report), encoding="utf-8")
    change = of(diff(first, second, resamples=100), "rmse")
    assert change.verdict == "regression", "one seed a side, but users and items are resampled"
    assert change.change.endswith("paired bootstrap")
    assert change.second - change.first == pytest.approx(float(change.change.split()[0]), abs=1e-3)
