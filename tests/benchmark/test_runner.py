"""The runner's processes: limits, reasons, resuming, interruption; measured cells are stood in for by small scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmrec_peft.benchmark.cells import Cell, expand
from llmrec_peft.benchmark.choices import Choices
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.process import Places
from llmrec_peft.benchmark.runner import alone_in, plan, run_cells
from llmrec_peft.benchmark.sections import Limits, Timing
from llmrec_peft.errors import InputError

pytestmark = pytest.mark.trains

GOOD = """
import json, sys, pathlib
spec = json.loads(pathlib.Path(sys.argv[1]).read_text())
pathlib.Path(sys.argv[3]).mkdir(parents=True)
with (pathlib.Path(sys.argv[2]).parent.parent / "calls").open("a") as calls:
    calls.write(f"{spec['axes']['seed']}\\n")
row = {name: spec[name] for name in ("axes", "key", "at_a_time")} | {"status": "ok", "reason": None}
pathlib.Path(sys.argv[2]).write_text(json.dumps(row))
"""
CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
SLEEPS = "import time; time.sleep(60)"
GROWS = "import time; x = bytearray(400 * 2**20); time.sleep(60)"


def cells(seeds: tuple[int, ...] = (1,), precisions: tuple[str, ...] = ("fp32",), **limits: float) -> list[Cell]:
    plain = {
        "name": "m",
        "recipes": ["movies"],
        "backbones": ["minilm"],
        "adapters": ["lora"],
        "precisions": list(precisions),
        "seeds": list(seeds),
        "limits": Limits(**limits).model_dump(),
    }
    return expand(Matrix.from_plain(plain, "m.yaml"), Path("m.yaml"))


def choices(code: str, **changes: Any) -> Choices:
    return Choices(show=False, command=(sys.executable, "-c", code), **changes)


def run_one(code: str, out: Path, **limits: float) -> dict[str, Any]:
    (row,) = run_cells(cells(**limits), out, choices(code))
    return row


def gone(marker: str) -> bool:
    """Whether no process has this text on its command line, within two seconds."""
    for _ in range(20):
        found = False
        for process in psutil.process_iter(["cmdline"]):
            found |= any(marker in part for part in process.info["cmdline"] or [])
        if not found:
            return True
        time.sleep(0.1)
    return False


def test_over_the_time_limit_the_cell_and_its_children_are_ended(tmp_path: Path) -> None:
    marker = f"marker-{os.getpid()}-time"
    started = time.monotonic()
    row = run_one(CHILD.format(code=f"{SLEEPS} # {marker}"), tmp_path, seconds=1.0)
    assert time.monotonic() - started < 30
    assert (row["status"], row["reason"]) == ("failed", "over 1 s")
    assert gone(marker)
    assert json.loads(next((tmp_path / "cells").glob("*.json")).read_text(encoding="utf-8")) == row


def test_over_the_memory_limit_the_cell_is_ended_though_a_child_holds_it(tmp_path: Path) -> None:
    row = run_one(CHILD.format(code=GROWS), tmp_path, memory_gb=0.25, seconds=50)
    assert (row["status"], row["reason"]) == ("failed", "over 0.25 GB of memory")
    assert row["peak_memory_mb"]["rss"] > 256


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.stderr.write('error: no data folder x\\n'); sys.exit(2)", "no data folder x"),
        ("raise RuntimeError('shapes differ')", "RuntimeError: shapes differ"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL (out of memory?)"),
        ("raise SystemExit(3)", "exit code 3, and not a word"),
        ("pass", "exit code 0, and not a word"),
        ("import sys; open(sys.argv[2], 'w').write('{')", "exit code 0, and not a word"),
    ],
)
def test_a_failed_cell_is_a_row_with_its_reason(code: str, reason: str, tmp_path: Path) -> None:
    row = run_one(code, tmp_path)
    assert (row["status"], row["reason"]) == ("failed", reason)
    assert row["recipe"]["seed"] == 1


def test_finished_cells_are_not_run_again_and_failed_ones_are(tmp_path: Path) -> None:
    wanted = cells((1, 2, 3))
    failing = GOOD.replace("row =", "assert spec['axes']['seed'] != 2, 'seed 2'\nrow =")
    rows = run_cells(wanted, tmp_path, choices(failing))
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert [state for _, state in plan(wanted, tmp_path, choices(GOOD))] == ["finished", "run", "finished"]
    kept = run_cells(wanted, tmp_path, choices(GOOD, keep_failed=True))
    assert kept == rows
    rows = run_cells(wanted, tmp_path, choices(GOOD))
    assert [row["status"] for row in rows] == ["ok", "ok", "ok"]
    assert (tmp_path / "calls").read_text(encoding="utf-8").split() == ["1", "2", "3", "2"]
    run_cells(wanted, tmp_path, choices(GOOD, overwrite=True))
    assert (tmp_path / "calls").read_text(encoding="utf-8").split()[4:] == ["1", "2", "3"]


def test_a_broken_row_and_that_of_another_matrix_are_measured_again(tmp_path: Path) -> None:
    wanted = cells((1, 2))
    run_cells(wanted, tmp_path, choices(GOOD))
    first, second = (tmp_path / "cells" / cell.file for cell in wanted)
    first.write_text(first.read_text(encoding="utf-8")[:20], encoding="utf-8")
    second.write_text(json.dumps({"key": "other", "status": "ok"}), encoding="utf-8")
    assert [row["axes"]["seed"] for row in run_cells(wanted, tmp_path, choices(GOOD))] == [1, 2]
    assert (tmp_path / "calls").read_text(encoding="utf-8").split() == ["1", "2", "1", "2"]


def test_run_folders_go_unless_they_are_to_be_kept(tmp_path: Path) -> None:
    run_cells(cells(), tmp_path / "a", choices(GOOD))
    assert not (tmp_path / "a" / "runs").exists()
    assert [path.suffix for path in (tmp_path / "a" / "cells").iterdir()] == [".json"]
    run_cells(cells(), tmp_path / "b", choices(GOOD, keep_runs=True))
    assert len(list((tmp_path / "b" / "runs").iterdir())) == 1


def test_an_impossible_pair_is_a_row_without_a_process(tmp_path: Path) -> None:
    plain = {
        "name": "m",
        "recipes": ["movies"],
        "backbones": ["minilm"],
        "adapters": ["dora", "lora"],
        "precisions": ["int8"],
    }
    wanted = expand(Matrix.from_plain(plain, "m.yaml"), Path("m.yaml"))
    rows = run_cells(wanted, tmp_path, choices(GOOD))
    assert [(row["axes"]["adapter"], row["status"]) for row in rows] == [("dora", "refused"), ("lora", "ok")]
    assert "int8" in rows[0]["reason"]
    assert (tmp_path / "calls").read_text(encoding="utf-8").split() == ["1"]


def test_several_jobs_run_at_the_same_time_and_keep_the_order(tmp_path: Path) -> None:
    meet = GOOD + (
        "\nimport time\nplace = pathlib.Path(sys.argv[2]).parent.parent\n"
        "(place / f\"met{spec['axes']['seed']}\").touch()\nuntil = time.time() + 20\n"
        "while len(list(place.glob('met*'))) < 2:\n    assert time.time() < until\n    time.sleep(0.05)\n"
    )
    rows = run_cells(cells((1, 2)), tmp_path, choices(meet, jobs=2))
    assert [(row["axes"]["seed"], row["status"], row["at_a_time"]) for row in rows] == [(1, "ok", 2), (2, "ok", 2)]


@pytest.mark.parametrize("killed_by", [signal.SIGINT, signal.SIGKILL])
def test_a_runner_that_is_killed_leaves_what_is_finished_and_the_next_runs_the_rest(
    killed_by: signal.Signals, tmp_path: Path
) -> None:
    marker = f"marker-{os.getpid()}-{killed_by.name}"
    watched = "import os, threading, time\nfrom llmrec_peft.benchmark import cell\n"
    watched += "threading.Thread(target=cell._end_with, args=(os.getppid(),), daemon=True).start()\n"
    code = watched + GOOD.replace("row =", "if spec['axes']['seed'] == 2: time.sleep(60)\nrow =") + f"# {marker}"
    driver = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import test_runner as t\n"
        "with t.alone_in(Path(sys.argv[2])):\n"
        "    t.run_cells(t.cells((1, 2, 3)), Path(sys.argv[2]), t.choices(sys.argv[3]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", driver, str(Path(__file__).parent), str(tmp_path), code], stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 60
    while not (tmp_path / "calls").is_file() or len((tmp_path / "calls").read_text().split()) < 2:
        assert time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(killed_by)
    assert process.wait(30) != 0
    assert gone(marker)
    wanted = cells((1, 2, 3))
    assert [state for _, state in plan(wanted, tmp_path, choices(GOOD))] == ["finished", "run", "run"]
    with alone_in(tmp_path):
        again = GOOD.replace("mkdir(parents=True)", "mkdir(parents=True, exist_ok=True)")
        rows = run_cells(wanted, tmp_path, choices(again))
    assert [row["status"] for row in rows] == ["ok", "ok", "ok"]
    assert (tmp_path / "calls").read_text(encoding="utf-8").split() == ["1", "2", "2", "3"], "only what is missing"


def test_a_second_runner_is_kept_out_of_the_folder_until_the_first_is_gone(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from llmrec_peft.benchmark.runner import alone_in\n"
        "with alone_in(Path(sys.argv[1])):\n    print('in', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "in\n"
        with pytest.raises(InputError, match="another benchmark is writing there"), alone_in(tmp_path):
            pass
        with alone_in(tmp_path / "elsewhere"):
            pass
    finally:
        holder.kill()
        holder.wait()
    with alone_in(tmp_path):
        pass


def test_a_cell_ends_with_its_runner_even_if_that_was_killed(tmp_path: Path) -> None:
    marker = f"marker-{os.getpid()}-killed"
    measured = (
        "import os, sys, threading, time; from llmrec_peft.benchmark import cell\n"
        "threading.Thread(target=cell._end_with, args=(os.getppid(),), daemon=True).start()\n"
        f"open(sys.argv[2] + '.begun', 'w').close(); time.sleep(60)  # {marker}"
    )
    driver = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import test_runner as t;"
        "t.run_cells(t.cells(), Path(sys.argv[2]), t.choices(sys.argv[3]))"
    )
    process = subprocess.Popen([sys.executable, "-c", driver, str(Path(__file__).parent), str(tmp_path), measured])
    until = time.monotonic() + 60
    while not list(tmp_path.glob("cells/*.begun")):
        assert time.monotonic() < until
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert gone(marker)


def test_what_an_interrupted_cell_left_is_taken_up_unless_it_is_timed(tmp_path: Path) -> None:
    code = GOOD.replace("pathlib.Path(sys.argv[3]).mkdir(parents=True)", "run = pathlib.Path(sys.argv[3])")
    code += "\nhidden = run.with_name(f'.{run.name}.training')\nassert hidden.exists(), 'nothing is left'"
    for timed, status in ((None, "ok"), (Timing(), "failed")):
        (cell,) = (replace(one, timing=timed) for one in cells())
        out = tmp_path / status
        hidden = (out / "runs" / Places.of(cell, out).run.name).with_name(f".{Places.of(cell, out).run.name}.training")
        hidden.mkdir(parents=True)
        (row,) = run_cells([cell], out, choices(code))
        assert row["status"] == status, row["reason"]
        assert not (out / "runs").exists()


def test_a_training_that_other_code_began_is_not_taken_up(tmp_path: Path) -> None:
    (cell,) = (replace(one, timing=None) for one in cells())
    other = Places.of(replace(cell, code="b" * 64), tmp_path).run
    for left in (other, other.with_name(f".{other.name}.training")):
        left.mkdir(parents=True)
        (left / "kept").touch()
    code = GOOD + "\nassert list(pathlib.Path(sys.argv[3]).parent.glob('.*')) == [], 'its checkpoints are there'"
    (row,) = run_cells([cell], tmp_path, choices(code))
    assert row["status"] == "ok", row["reason"]
    assert (other / "kept").exists(), "a whole run was asked to be kept"
    assert not other.with_name(f".{other.name}.training").exists()
