"""The hosted CI's files: few rights, actions pinned, commands that exist, the Pythons that the metadata promises."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from llmrec_peft.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github"
FILES = sorted(FOLDER.rglob("*.yaml"))
WORKFLOWS: dict[str, dict[Any, Any]] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (FOLDER / "workflows").glob("*.yaml")
}
JOBS = {(name, job): found for name, flow in WORKFLOWS.items() for job, found in flow["jobs"].items()}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ON = True
"""YAML 1.1 reads the key `on` as true."""


def steps() -> Iterator[dict[str, Any]]:
    """Each step of each job, and of the actions that lie here."""
    for job in JOBS.values():
        yield from job["steps"]
    for path in (FOLDER / "actions").rglob("action.yaml"):
        yield from yaml.safe_load(path.read_text(encoding="utf-8"))["runs"]["steps"]


def commands() -> Iterator[list[str]]:
    """Words of each line that a step runs."""
    for step in steps():
        for line in step.get("run", "").splitlines():
            yield shlex.split(line)


def test_the_two_workflows_are_found() -> None:
    assert set(WORKFLOWS) == {"ci", "release"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_actions_of_others_are_pinned_by_commit_and_say_their_release(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        if (used := line.partition("uses: ")[2]) and not used.startswith("./"):
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used


def test_actions_that_lie_here_are_there() -> None:
    local = {step["uses"] for step in steps() if step.get("uses", "").startswith("./")}
    assert local == {"./.github/actions/setup"}
    assert all((ROOT / name / "action.yaml").is_file() for name in local)


def test_jobs_may_read_and_only_the_upload_may_prove_who_it_is() -> None:
    assert all(flow["permissions"] == {"contents": "read"} for flow in WORKFLOWS.values())
    more = {key: job["permissions"] for key, job in JOBS.items() if "permissions" in job}
    assert more == {("release", "publish"): {"id-token": "write"}}
    for step in steps():
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_strangers_changes_reach_no_secret_and_no_command() -> None:
    """What a pull request names is a text of a stranger's; `pull_request_target` would run it with rights."""
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert "pull_request_target" not in text
        assert "secrets." not in text
    assert [step["run"] for step in steps() if "${{ github" in step.get("run", "")] == []
    assert set(WORKFLOWS["release"][ON]) == {"push"}
    assert set(WORKFLOWS["release"][ON]["push"]) == {"tags"}


def test_the_upload_waits_for_the_build_and_for_a_bare_installation() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    assert (jobs["publish"]["needs"], jobs["installed"]["needs"]) == ("installed", "build")
    assert jobs["publish"]["environment"] == "pypi"


@pytest.mark.parametrize("key", [("ci", "check"), ("ci", "test"), ("release", "installed")], ids=" ".join)
def test_every_python_that_the_metadata_promises_is_tried(key: tuple[str, str]) -> None:
    tried = JOBS[key]["strategy"]["matrix"]["python"]
    promised = re.findall(r"Python :: (\d\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert set(promised) <= set(tried)
    assert PROJECT["requires-python"] == f">={tried[0]}"


@pytest.mark.parametrize("key", list(JOBS), ids=" ".join)
def test_a_job_that_hangs_ends(key: tuple[str, str]) -> None:
    assert JOBS[key]["timeout-minutes"] <= 120


def test_quick_tests_run_for_every_change_and_all_tests_on_main_and_each_night() -> None:
    assert {"pull_request", "push", "schedule"} <= set(WORKFLOWS["ci"][ON])
    assert "if" not in JOBS["ci", "check"]
    assert JOBS["ci", "test"]["if"] == "github.event_name != 'pull_request'"


def test_commands_that_are_run_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    made = {words[1] for words in commands() if words[0] == "make"}
    assert made == {"setup", "check", "test"}
    assert made <= targets
    group: Any = typer.main.get_command(app)
    ours = [words[1:] for words in commands() if words[0].startswith("fresh/bin/llmrec")]
    assert [words[0] for words in ours] == ["doctor", "train", "recommend"]
    for name, *arguments in ours:
        with group.commands[name].make_context(name, arguments):
            pass
    files = [word for words in commands() for word in words if word.startswith("tests/")]
    assert files
    assert all((ROOT / name).is_file() for name in files)
