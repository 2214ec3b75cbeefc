"""The trials of a search: the recipe's own values first, taken up after a kill, shared by processes, ended early."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import made_up_search
import pytest
from made_up_search import EPOCHS, MadeUpTrials, by_rate, search

from llmrec_peft.errors import InputError
from llmrec_peft.workflows.study import open_study, public_url

pytest.importorskip("optuna")

IN_MEMORY = "sqlite://"


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'search.db'}"


def worker(storage: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, made_up_search.__file__, storage, str(count)], env=dict(os.environ))


def finished(storage: str) -> int:
    """Trials in the database that have ended."""
    path = Path(storage.removeprefix("sqlite:///"))
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path, timeout=60)) as database:
        try:
            return int(
                database.execute("select count(*) from trials where state in ('COMPLETE', 'PRUNED')").fetchone()[0]
            )
        except sqlite3.OperationalError:  # the tables are not there yet
            return 0


def test_the_recipes_own_values_come_first_and_the_best_is_never_worse() -> None:
    def own_is_best(changes: Mapping[str, Any]) -> float:
        return abs(changes["training.head.learning_rate"] - 0.001) + abs(changes["fusion.dim"] - 32)

    trials, report = search(IN_MEMORY, 8, MadeUpTrials(own_is_best))
    own = {"training.head.learning_rate": 0.001, "fusion.dim": 32, "signals.graph": {}}
    assert trials.tried[0] == own
    assert report["default"] == report["best"] == report["trials"][0]
    assert report["best"]["values"] == own
    assert len(trials.tried) == 8


def test_better_values_are_found_and_the_field_that_matters_is_named() -> None:
    _, report = search(IN_MEMORY, 24)
    assert report["best"]["figure"] < report["default"]["figure"] == 0.001
    assert max(report["importances"], key=report["importances"].get) == "training.head.learning_rate"
    assert set(report["importances"]) == {"training.head.learning_rate", "fusion.dim", "signals.graph"}


def test_bad_trials_are_ended_early_and_refused_ones_named() -> None:
    _, report = search(IN_MEMORY, 24)
    rows = report["trials"]
    early = [row for row in rows if row["state"] == "pruned" and "reason" not in row]
    refused = [row for row in rows if "reason" in row]
    assert early
    assert refused
    assert any(row["epochs"] < EPOCHS for row in early)
    assert all(row["epochs"] >= 2 and row["figure"] is None for row in early)
    assert all(row["reason"] == "fusion.dim: too wide for this test" for row in refused)
    assert all(row["epochs"] == EPOCHS for row in rows if row["state"] == "complete")


@pytest.mark.trains
def test_the_recipes_own_values_are_never_ended_early(storage: str) -> None:
    def own_is_worst(changes: Mapping[str, Any]) -> float:
        return float(changes["training.head.learning_rate"] == 0.001)

    study = open_study(storage, "made-up", True, seed=1)
    for _ in range(6):  # other trials, as if the first had failed
        trial = study.ask()
        for epoch in range(EPOCHS):
            trial.report(0.0, epoch + 1)
        study.tell(trial, 0.0)
    _, report = search(storage, 7, MadeUpTrials(own_is_worst))
    assert report["default"]["state"] == "complete"
    assert report["default"]["figure"] == 1.0


@pytest.mark.trains
def test_what_is_tried_does_not_depend_on_interruptions(tmp_path: Path) -> None:
    whole, _ = search(f"sqlite:///{tmp_path / 'whole.db'}", 13)
    parts = [search(f"sqlite:///{tmp_path / 'parts.db'}", count)[0].tried for count in (1, 4, 4, 13)]
    assert [len(part) for part in parts] == [1, 3, 0, 9]
    assert [values for part in parts for values in part] == whole.tried


@pytest.mark.trains
def test_own_values_that_cannot_be_trained_are_an_error_of_the_user(storage: str) -> None:
    def refuses(_: Mapping[str, Any]) -> float:
        raise InputError("nothing works here")

    with pytest.raises(InputError, match="nothing works here"):
        search(storage, 3, MadeUpTrials(refuses))
    trials, report = search(storage, 3)  # goes on, and tries them again
    assert trials.tried[0]["fusion.dim"] == 32
    assert report["default"]["state"] == "complete"


@pytest.mark.trains
def test_a_killed_search_goes_on(storage: str) -> None:
    process = worker(storage, 50)
    deadline = time.monotonic() + 120
    while finished(storage) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = finished(storage)
    assert 3 <= before < 12
    trials, report = search(storage, 12)
    done = [row for row in report["trials"] if row["state"] in ("complete", "pruned")]
    assert (len(done), len(trials.tried)) == (12, 12 - before)
    assert sum(row["default"] for row in done) == 1
    assert all(row["figure"] == by_rate(row["values"]) for row in done if row["state"] == "complete")
    assert report["best"]["figure"] <= report["default"]["figure"]


@pytest.mark.trains
def test_a_search_killed_in_its_first_trial_tries_the_recipes_own_values_again(storage: str) -> None:
    search(storage, 1)
    with closing(sqlite3.connect(storage.removeprefix("sqlite:///"))) as database:
        database.execute("update trials set state = 'RUNNING'")  # as a kill leaves it
        database.execute("delete from trial_values")
        database.commit()
    _, report = search(storage, 4)
    done = [row for row in report["trials"] if row["state"] != "running"]
    assert len(done) == 5  # the recipe's own values came last, because somebody else seemed to try them
    assert [row["default"] for row in done] == [False] * 4 + [True]


@pytest.mark.trains
def test_several_processes_share_a_storage(storage: str) -> None:
    workers = [worker(storage, 10) for _ in range(2)]
    assert [process.wait(timeout=200) for process in workers] == [0, 0]
    trials, report = search(storage, 10)
    done = [row for row in report["trials"] if row["state"] in ("complete", "pruned")]
    assert not trials.tried
    assert 10 <= len(done) <= 11  # both may have begun the last one
    drawn = [str(row["values"]) for row in done if not row["default"]]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("search.db", "no URL of a database, such as sqlite:///search.db"),
        ("sqlite:////nowhere/at/all/search.db", "unable to open database file"),
        ("nothing://here", "nothing"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_named(url: str, said: str) -> None:
    with pytest.raises(InputError, match="--storage") as refusal:
        open_study(url, "made-up", True, seed=1)
    assert said in str(refusal.value)


def test_passwords_are_not_repeated() -> None:
    assert "secret" not in public_url("postgresql://me:secret@host/db")
    assert "secret" not in public_url("me:secret@host:x:y://")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "search.db").write_text("no database " * 100)
    with pytest.raises(InputError, match=r"--storage .*search\.db: file is not a database"):
        open_study(f"sqlite:///{tmp_path / 'search.db'}", "made-up", True, seed=1)
