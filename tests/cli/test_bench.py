"""`llmrec bench` through the real command: a tiny matrix from YAML to its report, resumed, and mistakes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.benchmark.cells import load_matrix
from llmrec_peft.benchmark.rows import bare_row, write_json
from llmrec_peft.recipe.yaml_file import dump_yaml, parse_yaml

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def matrix(tmp_path: Path, tiny_backbone: Path, tiny_data: Path) -> Path:
    plain: dict[str, Any] = {
        "name": "tiny",
        "recipes": [{"recipe": "movies", "label": "films", "data": tiny_data.name}],
        "backbones": [str(tiny_backbone)],
        "adapters": [{"method": "lora", "rank": 2, "layers": "top-1", "label": "thin"}, "none"],
        "precisions": ["fp32"],
        "set": {"training.epochs": 1, "training.refit": False, "signals.graph": False},
        "timing": {"texts": 4, "repeats": 5, "calls": 6, "seconds": 5, "candidates": 7},
    }
    path = tmp_path / "matrix.yaml"
    path.write_text(dump_yaml(plain), encoding="utf-8")
    return path


def test_a_matrix_becomes_rows_and_a_report_and_is_not_measured_twice(
    matrix: Path, tiny_data: Path, tmp_path: Path, llmrec: Command
) -> None:
    out = tmp_path / "out"
    command = ["bench", matrix, "--data", tiny_data.parent, "--out", out]
    dry = llmrec(*command, "--dry-run", "--no-probe", "--json")
    assert dry.returncode == 0, dry.stderr
    assert [one["would"] for one in json.loads(dry.stdout)["cells"]] == ["run", "run"]
    assert not out.exists()

    done = llmrec(*command, "--json")
    assert done.returncode == 0, done.stderr
    thin, none = json.loads(done.stdout)
    assert (thin["status"], none["status"]) == ("ok", "ok"), done.stdout
    assert thin["parameters"]["adapter"] == 2 * 2 * (32 + 32)  # query and value of one layer, rank 2, 32 wide
    assert thin["adapter_bytes"] > 4 * thin["parameters"]["adapter"]
    assert none["parameters"]["adapter"] == 0
    assert thin["steps"]["step"]["n"] == thin["steps"]["step_with_trunk"]["n"] == 5
    assert thin["steps"]["step_over_forward"] > 1, "a step holds a forward"
    assert none["steps"]["step"] is none["steps"]["step_over_forward"] is None
    accuracy = thin["accuracy"]
    assert set(accuracy["test"]) == {"after", "before", "blend", *accuracy["baselines"]}
    assert accuracy["baselines"] == ["global_mean", "user_mean", "item_mean", "bias", "biased_mf"]
    assert set(accuracy["test"]["after"]) >= {"rmse", "mae"}
    latency = thin["latency_ms"]
    assert latency["candidates"] == 7
    for kind in ("score_1", "score_32", "new_item_1", "new_item_32", "recommend_1", "recommend_32"):
        assert latency[kind]["p99"] >= latency[kind]["p95"] >= latency[kind]["p50"] > 0
        assert latency[kind]["n"] == 6
    assert thin["throughput"]["users_per_s"] > 0
    assert thin["throughput"]["items_per_s"] > 0
    assert thin["tokens_per_s"] > 0
    assert none["tokens_per_s"] is None, "no text was trained on"
    assert 0 < thin["seconds"]["best"] == thin["seconds"]["epoch"], "one epoch"
    memory = thin["peak_memory_mb"]
    assert set(memory["phases"]) == {"train", "answer", "steps"}
    assert memory["rss"] == max(one["rss"] for one in memory["phases"].values())
    assert 50 < memory["phases"]["train"]["rss"] <= memory["rss"] < 20_000
    assert {len(thin["code"]), len(thin["data"]["fingerprint"])} == {64}
    shown = {path.name for path in out.iterdir() if path.name != ".bench.lock"}
    assert shown == {"cells", "report.html", "report.md", "results.csv", "results.json", "results.parquet"}
    assert len(list((out / "cells").iterdir())) == 2
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "\n| thin " in text

    stamps = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    again = llmrec(*command)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("2 ok: ")
    assert {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()} == stamps

    printed = llmrec("bench", "--table", out / "results.json")
    assert printed.returncode == 0, printed.stderr
    assert "\n| thin " in printed.stdout
    assert printed.stdout.strip() in text, "the tables of what was measured, without a matrix or data"


def test_groups_are_measured_and_compared_and_their_predictions_kept(
    matrix: Path, tiny_data: Path, tmp_path: Path, llmrec: Command
) -> None:
    plain = parse_yaml(matrix.read_text(encoding="utf-8"), "m.yaml")
    settings = {**plain["set"], "evaluation.ablations": [], "evaluation.bootstrap": 0}
    changed = {
        **{key: value for key, value in plain.items() if key not in ("adapters", "timing")},
        "recipes": [{**plain["recipes"][0], "published": {"IGMC": 0.905}}],
        "set": settings,
        "groups": {"thin": {"adapter.rank": 2}, "bare": {"adapter.method": "none"}},
        "comparisons": [{"first": {"group": "thin"}, "against": {"group": "bare"}, "resamples": 20}],
        "timing": None,
    }
    matrix.write_text(dump_yaml(changed), encoding="utf-8")
    out = tmp_path / "out"
    command = ["bench", matrix, "--data", tiny_data.parent, "--out", out]
    done = llmrec(*command, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["status"] for row in rows] == ["ok", "ok"], done.stdout
    assert "steps" not in rows[0], "nothing was timed"
    report = json.loads((out / "results.json").read_text(encoding="utf-8"))
    (compared,) = report["comparisons"]
    first, second = (row["accuracy"]["test"]["after"]["rmse"] for row in rows)
    assert compared["difference"] == pytest.approx(first - second, abs=1e-6)
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "after − bare" in text
    assert "published: IGMC" in text

    (out / "cells" / next((out / "cells").glob("*thin*.json")).name).unlink()
    dry = llmrec(*command, "--dry-run", "--no-probe", "--json")
    assert [one["would"] for one in json.loads(dry.stdout)["cells"]] == ["run", "finished"], "only what is missing"


def test_a_dry_run_says_what_cells_would_take_from_those_that_are_finished(
    matrix: Path, tiny_data: Path, tmp_path: Path, llmrec: Command
) -> None:
    out = tmp_path / "out"
    _, (thin, none) = load_matrix(matrix, tiny_data.parent)
    other = replace(none, code="that of last week")
    (out / "cells").mkdir(parents=True)
    write_json(out / "cells" / none.file, {**bare_row(other, "ok", ""), "seconds": {"cell": 61.0}})
    command = ["bench", matrix, "--data", tiny_data.parent, "--out", out, "--dry-run", "--no-probe"]
    dry = llmrec(*command)
    assert dry.returncode == 0, dry.stderr
    rows = [line.split("  ") for line in dry.stdout.splitlines() if line.startswith("films ")]
    words = [[word.strip() for word in row if word.strip()] for row in rows]
    assert [row[0] for row in words] == [thin.title, none.title]
    assert [row[1] for row in words] == ["run", "run: measured by other code"]
    assert words[0][2].endswith(" MiB")
    assert words[0][3:] == ["–", "no finished cell of this kind"]
    assert words[1][3:] == ["1 min 1 s", "1 finished"]
    assert "2 cells would run: 1 min 1 s of work, and 1 cells of unknown time, 1 at a time;" in dry.stdout
    kept = json.loads(llmrec(*command, "--keep-stale", "--json").stdout)
    assert [one["would"] for one in kept["cells"]] == ["run", "finished by other code"]
    assert kept["total"]["cells"] == 1
    assert kept["total"]["memory_mb"] > 1


def test_neither_matrix_nor_results_is_refused(llmrec: Command, tmp_path: Path) -> None:
    for arguments in ([], ["m.yaml"], ["--table", tmp_path / "absent.json"]):
        done = llmrec("bench", *arguments)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1


def test_a_cell_whose_data_is_missing_says_so_in_its_row(matrix: Path, tmp_path: Path, llmrec: Command) -> None:
    command = ["bench", matrix, "--data", tmp_path / "absent", "--out", tmp_path / "out", "--only", "none", "--json"]
    done = llmrec(*command)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["status"] == "failed"
    assert row["reason"].startswith("no data folder ")
    assert "failed: no data folder" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("edit", "arguments", "words"),
    [
        (("fp32", "fp31"), [], ["matrix.yaml: precisions.0"]),
        (("seeds", "seeds"), ["--only", "nothing"], ["--only 'nothing'"]),
        (("name: tiny", "name: [tiny"), [], ["matrix.yaml, line", "unreadable YAML"]),
        (("seeds", "seeds"), ["--jobs", "0"], ["--jobs"]),
        (("seeds", "seeds"), ["--no-probe"], ["--no-probe is for --dry-run"]),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    edit: tuple[str, str], arguments: list[str], words: list[str], matrix: Path, tmp_path: Path, llmrec: Command
) -> None:
    matrix.write_text(matrix.read_text(encoding="utf-8").replace(*edit), encoding="utf-8")
    done = llmrec("bench", matrix, "--out", tmp_path / "out", *arguments)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "out").exists()
