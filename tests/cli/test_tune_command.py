"""`llmrec tune`: what it prints, and that a killed search goes on with the same command."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from task_places import Run

from llmrec_peft.recipe import load_recipe

pytest.importorskip("optuna")
SPACE = "tune={adapter.rank: {choices: [2, 8]}, training.head.learning_rate: {low: 0.0003, high: 0.03, log: true}}"


def arguments(data: Path, backbone: Path, trials: int) -> list[str]:
    fields = (f"backbone.name={backbone}", "training.epochs=1", SPACE)
    given = [part for field in fields for part in ("--set", field)]
    return ["tune", "movies", "--data", str(data), "--trials", str(trials), *given]


def finished(database: Path) -> int:
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        try:
            return int(connection.execute("select count(*) from trials where state = 'COMPLETE'").fetchone()[0])
        except sqlite3.OperationalError:  # the tables are not there yet
            return 0


@pytest.mark.trains
@pytest.mark.timeout(600)
def test_a_killed_command_goes_on(
    tiny_data: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, llmrec_here: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    command = arguments(tiny_data, tiny_backbone, 500)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "llmrec_peft.cli.main", *command, "-q"], env=environment)
    deadline = time.monotonic() + 200
    while finished(Path("runs/tune.db")) < 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = finished(Path("runs/tune.db"))
    assert before >= 1
    assert not Path("runs/movies-tuned.yaml").exists()

    done = llmrec_here(*arguments(tiny_data, tiny_backbone, before + 1), "--json", "-q")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    whole = [row for row in report["trials"] if row["state"] in ("complete", "pruned")]
    assert len(whole) == before + 1
    assert report["best"]["figure"] <= report["default"]["figure"]
    assert report["default"]["number"] == 0
    best = load_recipe("runs/movies-tuned.yaml")
    assert best.adapter.config.model_dump()["rank"] == report["best"]["values"]["adapter.rank"]


def test_the_best_values_stand_beside_the_recipes_own(
    llmrec_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"number": 0, "state": "complete", "figure": 0.95, "values": {"fusion.dim": 8}}
    best = {"number": 3, "state": "complete", "figure": 0.93, "values": {"fusion.dim": 4}}
    told = {"metric": "rmse", "lower_is_better": True, "default": row, "best": best, "recipe": "runs/movies-tuned.yaml"}
    report = {**told, "trials": [row, best, {**row, "state": "pruned"}], "importances": {"fusion.dim": 1.0}}
    monkeypatch.setattr("llmrec_peft.workflows.tune.tune", lambda *_, **__: report)
    monkeypatch.chdir(tmp_path)
    done = llmrec_here("tune", "movies", "--data", "demo")
    assert "3 trials: 2 complete, 1 pruned" in done.out
    assert ["fusion.dim", "8", "4", "100%"] in [line.split() for line in done.out.splitlines()]
    figures = "0.9500 with the recipe's own values, 0.9300 with the best (trial 3)"
    assert f"validation rmse (lower is better): {figures}" in " ".join(done.out.split())
    assert done.out.endswith("best recipe: runs/movies-tuned.yaml\n")


def test_a_recipe_without_a_search_space_is_named(
    llmrec_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = llmrec_here("tune", "movies", "--data", "demo", "--set", "tune={}")
    assert (done.code, done.out) == (2, "")
    assert "tune: the recipe has no search space" in done.err


def test_own_values_outside_the_search_space_are_named(
    llmrec_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = llmrec_here("tune", "movies", "--set", "tune={training.epochs: {low: 50, high: 60}}")
    assert (done.code, done.out) == (2, "")
    assert "tune.training.epochs: the recipe's own value 40 is not among '50 to 60'" in done.err


def test_validate_names_a_searched_field_that_no_recipe_has(llmrec_here: Run) -> None:
    done = llmrec_here("validate", "movies", "--set", "tune={training.epoch: {low: 5, high: 60}}")
    assert done.code == 2
    assert "tune: unknown field 'training.epoch': did you mean 'training.epochs'?" in done.err
