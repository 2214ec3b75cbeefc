"""`llmrec push` and `llmrec pull` as they are typed, and runs of the Hub wherever a RUN is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, hub_environment
from people_run import USERS

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.cli.main import main
from llmrec_peft.cli.serve import _runs


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in this process; returns its exit code, stdout and stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(str(ended.value.code)), out, err

    return command


def test_dry_run_shows_files_what_is_left_out_and_the_card(hub: Hub, people_run: Path, run: Any) -> None:
    code, out, _ = run("push", people_run, "ann/films", "--dry-run")
    assert code == 0
    assert "signals.safetensors" in out
    assert "left out: ids and table rows of 24 users" in out
    assert 'Recommender.from_pretrained("ann/films")' in out
    code, out, _ = run("push", people_run, "ann/films", "--dry-run", "--include-items", "--json")
    assert code == 0
    assert json.loads(out)["items"] is True
    assert not hub.requests


def test_users_are_not_published_without_a_word(hub: Hub, people_run: Path, run: Any) -> None:
    code, _, err = run("push", people_run, "ann/films", "--include-users")
    assert code == 2
    assert "ann/films" in err
    assert "--yes" in err
    assert not hub.requests
    code, out, _ = run("push", people_run, "ann/films", "--include-users", "--yes", "--quiet", "--json")
    assert code == 0
    assert json.loads(out)["users"] is True
    assert USERS[3].encode() in hub.files("ann/films")["catalogue.safetensors"]


def test_pushed_run_is_pulled_and_used_by_its_name(
    hub: Hub, people_run: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("push", people_run, "ann/films", "--private", "--include-items", "--quiet")[0] == 0
    code, out, _ = run("pull", "ann/films", "--out", tmp_path / "films", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["commit"] == hub.repositories["ann/films"].branches["main"]
    assert told["digest"] == read_manifest(tmp_path / "films").digest
    code, _, err = run("pull", "ann/films", "--out", tmp_path / "films")
    assert code == 2
    assert "exists already" in err
    code, by_name, err = run("recommend", f"ann/films@{told['commit']}", "--user", "somebody", "--json")
    assert code == 0
    assert "has no users: each one is answered as a new user" in err
    code, by_folder, _ = run("recommend", tmp_path / "films", "--user", "somebody", "--json")
    assert json.loads(by_name) == json.loads(by_folder)
    assert json.loads(by_name)["basis"] == "popularity"
    assert run("lineage", "ann/films")[0] == 0


def test_tenant_of_a_server_is_named_by_its_repository(hub: Hub, people_run: Path, run: Any) -> None:
    assert run("push", people_run, "ann/films", "--quiet")[0] == 0
    runs = _runs(["films=ann/films", f"shop={people_run}"])
    assert read_manifest(runs["films"]).digest != read_manifest(people_run).digest
    assert runs["shop"] == people_run


@pytest.mark.parametrize("name", ["films", "ann/films/more", "../films", "ann/fi--lms"])
def test_wrong_names_are_refused_before_anything_is_read(name: str, hub: Hub, tmp_path: Path, run: Any) -> None:
    for arguments in (("push", tmp_path, name), ("pull", name)):
        code, _, err = run(*arguments)
        assert code == 2
        assert "is no OWNER/NAME of the Hub" in err
    assert not hub.requests


def test_commands_in_processes_of_their_own_use_the_environment(
    empty_hub: Hub, people_run: Path, tmp_path: Path, llmrec: Any
) -> None:
    environment = hub_environment(empty_hub, tmp_path)
    done = llmrec("push", people_run, "ann/films", "--no-include-items", **environment)
    assert done.returncode == 0, done.stderr
    assert "loaded again: the vectors of 30 items" in done.stderr
    done = llmrec("pull", "ann/films", cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    done = llmrec("pull", "ann/others", cwd=tmp_path, **{**environment, "HF_ENDPOINT": "http://127.0.0.1:9"})
    assert done.returncode == 2
    assert "cannot be reached" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
