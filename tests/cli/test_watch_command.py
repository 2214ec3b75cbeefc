"""`llmrec watch` on the command line: what it prints, how it ends, what it refuses before anything is read."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from task_places import Run

from llmrec_peft.workflows.watch import Watch
from llmrec_peft.workflows.watch_state import Decision, State, Work

TOLD = Decision(at="2026-11-29T17:00:00+00:00", what="too few", deliveries=("a\nb",), current=None, reason="only 1")


@pytest.mark.parametrize("arguments", [(), ("--run", "run", "--recipe", "movies")])
def test_it_has_to_be_said_what_learns(arguments: tuple[str, ...], llmrec_here: Run) -> None:
    done = llmrec_here("watch", "in", *arguments)
    assert done.code == 2
    assert "say what learns" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--recipe", "moveis"), "did you mean 'movies'"),
        (("--run", "nowhere"), "nowhere"),
        (("--recipe", "movies", "--enough", "0"), "enough"),
    ],
)
def test_wrong_values_are_named(
    arguments: tuple[str, ...], said: str, llmrec_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    done = llmrec_here("watch", "in", *arguments, "--once")
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_missing_folder_is_named(llmrec_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = llmrec_here("watch", "nowhere", "--recipe", "movies", "--once")
    assert done.code == 2
    assert "nowhere: No such file" in done.err


@pytest.mark.parametrize("form", ["json", "lines"])
def test_each_decision_is_one_line(
    form: str, llmrec_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Watch, "look", lambda _: iter([TOLD, TOLD]))
    done = llmrec_here("watch", "in", "--recipe", "movies", "--once", *(["--json"] if form == "json" else []))
    assert done.code == 0
    lines = done.out.splitlines()
    if form == "json":
        assert [json.loads(line) for line in lines] == [TOLD.model_dump(mode="json")] * 2
    else:
        assert len(lines) == 2
        assert all(line.startswith("2026-11-29T17:00:00+00:00 too few: ") for line in lines)


@pytest.mark.parametrize("working", [False, True])
def test_sigterm_ends_it_and_says_what_goes_on(
    working: bool, llmrec_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def look(watch: Watch) -> Iterator[Decision]:
        watch.state = State(working=Work(run="films-u1", deliveries=()) if working else None)
        os.kill(os.getpid(), signal.SIGTERM)
        yield from ()

    monkeypatch.setattr(Watch, "look", look)
    before = signal.getsignal(signal.SIGTERM)
    done = llmrec_here("watch", "in", "--recipe", "movies")
    assert done.code == 130
    assert "interrupted" in done.err
    assert ("goes on from the last checkpoint" in done.err) == working
    assert signal.getsignal(signal.SIGTERM) == before
    assert not [path for path in (tmp_path / "runs").iterdir() if "lock" in path.name]
