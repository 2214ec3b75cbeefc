"""Where rows come from: the commit of this very checkout, machines, seeds and data in words."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from made_up_rows import MACHINE, MATRIX, rows_of
from markupsafe import escape

from llmrec_peft.benchmark import provenance
from llmrec_peft.benchmark.flat_rows import flat_rows
from llmrec_peft.benchmark.html_report import as_html
from llmrec_peft.benchmark.markdown_report import as_markdown
from llmrec_peft.benchmark.provenance import commit_here, provenance_of
from llmrec_peft.benchmark.report import assemble

ROOT = Path(__file__).parents[2]


def test_the_commit_is_that_of_the_checkout_that_the_package_lies_in() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert commit_here() in (head.strip(), f"{head.strip()}+changes")


def test_a_package_inside_somebody_elses_repository_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str, at: Path) -> str | None:
        return None if arguments[0] == "ls-files" else "0123456"

    monkeypatch.setattr(provenance, "_git", git)
    assert commit_here() is None


def test_machines_seeds_and_data_are_said_once() -> None:
    rows: list[dict[str, Any]] = rows_of({"none": [0.9, 0.9], "lora": [0.9, 0.9]})
    rows[0] = {**rows[0], "hardware": {**MACHINE, "cuda": "A GPU", "threads": 1}}
    rows[1] = {**rows[1], "data": {**rows[1]["data"], "fingerprint": "ef" * 32}}
    found = provenance_of(assemble(MATRIX, rows))
    assert found.machines == ("A GPU, 2 cores (1 thread), 8.0 GB: films", "A chip, 2 cores (2 threads), 8.0 GB: films")
    assert found.side_by_side == ()
    assert found.seeds == ("seed 1, seed 2",)
    sizes = "Films: 10 users, 20 items, 50 valid, 100 test"
    assert found.data == (f"{sizes}; fingerprint {'cd' * 8}, fingerprint {'ef' * 8}",)
    assert found.codes == (("ab" * 32, 4),)


def test_rows_that_were_measured_several_at_a_time_say_so_in_every_report() -> None:
    rows: list[dict[str, Any]] = rows_of({"none": [0.9], "lora": [0.9]})
    report = assemble(MATRIX, [{**row, "at_a_time": 2} for row in rows])
    said = "2 cells at a time, which disturb each other's times"
    assert provenance_of(report).side_by_side == (said,)
    assert said in as_markdown(report)
    assert escape(said) in as_html(report)
    assert [line["at_a_time"] for line in flat_rows(report["rows"])] == [2, 2]
    one_of_two = [rows[0], {**rows[1], "at_a_time": 2}]
    assert provenance_of(assemble(MATRIX, one_of_two)).side_by_side == (f"{said}: films",)
