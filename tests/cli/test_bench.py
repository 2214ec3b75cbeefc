"""`llmrec bench` through the real command: a tiny matrix from YAML to its report, resumed, and mistakes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.recipe.yaml_file import dump_yaml

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
        "timing": {"texts": 4, "repeats": 5, "seconds": 5, "pairs": 7},
    }
    path = tmp_path / "matrix.yaml"
    path.write_text(dump_yaml(plain), encoding="utf-8")
    return path


def test_a_matrix_becomes_rows_and_a_report_and_is_not_measured_twice(
    matrix: Path, tiny_data: Path, tmp_path: Path, llmrec: Command
) -> None:
    out = tmp_path / "out"
    command = ["bench", matrix, "--data", tiny_data.parent, "--out", out]
    dry = llmrec(*command, "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert [one["would"] for one in json.loads(dry.stdout)] == ["run", "run"]
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
    assert set(thin["accuracy"]["test"]) == {"after", "before", *thin["accuracy"]["trivial"]}
    assert thin["accuracy"]["trivial"] == ["global_mean", "user_mean", "item_mean", "bias", "biased_mf"]
    assert thin["answers"]["pairs"] == 7
    assert thin["answers"]["new_text"]["p95_ms"] >= thin["answers"]["new_text"]["p50_ms"] > 0
    assert 50 < thin["peak_memory_mb"]["rss"] < 20_000
    assert {path.name for path in out.iterdir()} == {"cells", "results.csv", "results.md", "results.json"}
    assert len(list((out / "cells").iterdir())) == 2
    assert "| thin |" in (out / "results.md").read_text(encoding="utf-8")

    stamps = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    again = llmrec(*command)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("2 ok: ")
    assert {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()} == stamps


def test_a_cell_whose_data_is_missing_says_so_in_its_row(matrix: Path, tmp_path: Path, llmrec: Command) -> None:
    command = ["bench", matrix, "--data", tmp_path / "absent", "--out", tmp_path / "out", "--only", "none", "--json"]
    done = llmrec(*command)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["status"] == "failed"
    assert row["reason"].startswith("no data folder ")
    assert "failed: no data folder" in (tmp_path / "out" / "results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("edit", "arguments", "words"),
    [
        (("fp32", "fp31"), [], ["matrix.yaml: precisions.0"]),
        (("seeds", "seeds"), ["--only", "nothing"], ["--only 'nothing'"]),
        (("name: tiny", "name: [tiny"), [], ["matrix.yaml, line", "unreadable YAML"]),
        (("seeds", "seeds"), ["--jobs", "0"], ["--jobs"]),
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
