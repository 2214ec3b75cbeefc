"""`llmrec predict` as a command: what it says at the end, streams, and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from task_places import Run

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the trained run."""
    (tmp_path / "run").symlink_to(tiny_run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


PREDICT = ["predict", "run", "--input", "in.csv", "--output", "out.csv"]


def test_last_line_says_how_many_rows_are_of_unknown_users(here: Path, llmrec_here: Run) -> None:
    (here / "in.csv").write_text("user_id,item_id\n1,6\n2.0,7\n", encoding="utf-8")
    done = llmrec_here(*PREDICT)
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        "1 scores in out.csv",
        "1 of 2 rows are of users that the run does not know, such as '2.0': they have no score",
    ]


def test_json_says_the_same_in_numbers(here: Path, llmrec_here: Run) -> None:
    (here / "in.csv").write_text("user_id,item_id\n1,6\nnobody,7\n1,nothing\n", encoding="utf-8")
    done = llmrec_here(*PREDICT, "--json", "--unknown", "popular")
    told = json.loads(done.out)
    assert (told["rows"], told["scored"], told["unknown_users"], told["unknown_items"]) == (3, 2, 1, 1)
    assert (told["unknown_user"], told["unknown_item"]) == ("nobody", "nothing")


def test_refuse_is_one_line_and_exit_code_2(here: Path, llmrec_here: Run) -> None:
    (here / "in.csv").write_text("user_id,item_id\nnobody,6\n", encoding="utf-8")
    done = llmrec_here(*PREDICT, "--unknown", "refuse")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert not (here / "out.csv").exists()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_pairs_come_from_stdin_and_scores_go_to_stdout(form: str, here: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = b"user_id,item_id,coupon\r\n1,6,007\r\n"
    if form == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"user_id": ["1"], "item_id": ["6"], "coupon": [7]}), sink)
        content = sink.getvalue().to_pybytes()
    command = [sys.executable, "-m", "llmrec_peft.cli.main", "predict", "run", "--input", "-", "--output", "-"]
    done = subprocess.run(
        [*command, "--format", form], cwd=here, input=content, capture_output=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [b"1 scores in stdout"]
    if form == "csv":
        header, row = done.stdout.split(b"\r\n")[:2]
        assert header == b"user_id,item_id,coupon,score,basis"
        assert row.startswith(b"1,6,007,")
    else:
        assert pq.read_table(pa.py_buffer(done.stdout)).column_names == [
            "user_id",
            "item_id",
            "coupon",
            "score",
            "basis",
        ]


def test_a_refusal_writes_nothing_to_stdout(here: Path) -> None:
    command = [sys.executable, "-m", "llmrec_peft.cli.main", "predict", "run", "--input", "-", "--output", "-"]
    content = b"user_id,item_id\n1,6\n,7\n"
    done = subprocess.run(command, cwd=here, input=content, capture_output=True, timeout=200, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.splitlines() == [b"error: stdin, row 2: user_id or item_id is empty"]


def test_json_and_scores_cannot_both_go_to_stdout(here: Path, llmrec_here: Run) -> None:
    done = llmrec_here("predict", "run", "--input", "in.csv", "--output", "-", "--json")
    assert done.code == 2
    assert "--json and --output - would both write to stdout" in done.err
