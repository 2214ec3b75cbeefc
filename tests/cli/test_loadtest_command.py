"""`llmrec loadtest`: figures for people and for scripts, exit codes, and no other machine by mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stand_in import KEY, StandIn, begun

from llmrec_peft.cli.main import main


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """A server with the tenants films and books, which the environment names, with its key."""
    server = begun()
    monkeypatch.setenv("LLMREC_URL", server.url)
    monkeypatch.setenv("LLMREC_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    return server


def run(*arguments: str) -> int:
    """Run `llmrec loadtest`, and return the exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["loadtest", *arguments])
    return int(ended.value.code or 0)


def test_all_tenants_are_asked_and_figures_are_printed(
    stand_in: StandIn, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("--rate", "100", "--requests", "30", "--out", "load.json", "--plot", "load.png", "--warm-up", "0.1") == 0
    out = capsys.readouterr().out
    assert "30 200" in out
    assert {line.split()[1] for line in out.splitlines() if line.split()[:1] in (["1"], ["2"])} == {"films", "books"}
    report = json.loads((tmp_path / "load.json").read_text(encoding="utf-8"))
    assert (report["requests"], report["answered"], report["statuses"]) == (30, 30, {"200": 30})
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")
    assert stand_in.seen[0][:2] == ("GET", "/v1/tenants")


def test_tenants_and_users_are_those_that_were_named(stand_in: StandIn, tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("anna\nbela\n", encoding="utf-8")
    asked = ("--tenants", "books", "--users", "users.txt", "--rate", "100", "--requests", "20", "-k", "4")
    assert run(*asked, "--json") == 0
    bodies = [json.loads(body) for _, _, _, body in stand_in.seen]
    assert {(body["tenant"], body["k"]) for body in bodies} == {("books", 4)}
    assert {body["user_id"] for body in bodies} == {"anna", "bela"}


def test_errors_end_with_1_and_a_server_that_is_too_busy_with_0(
    stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--tenants", "films", "--rate", "100", "--requests", "10", "--json")
    stand_in.refuse(429, "too_many", times=3)
    stand_in.refuse(503, "unavailable", times=2)
    assert run(*asked) == 0
    assert json.loads(capsys.readouterr().out)["refused"] == 5
    stand_in.refuse(500, "internal")
    assert run(*asked) == 1
    assert json.loads(capsys.readouterr().out)["statuses"] == {"200": 9, "500": 1}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--url", "http://example.org"), "is another machine: --remote allows a load test there"),
        (("--seconds", "1", "--requests", "1"), "give seconds or requests"),
        (("--rate", "100000", "--seconds", "3600"), "requests of a load test is a number from 0 to 1,000,000"),
        (("--user-range", "9-1"), "--user-range: '9-1' is no range"),
        (("--user-range", "1-2000000"), "at most 1,000,000 numbers"),
    ],
)
def test_what_has_no_bound_or_goes_elsewhere_is_refused_before_a_request_is_sent(
    stand_in: StandIn, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], reason: str
) -> None:
    assert run("--tenants", "films", *arguments) == 2
    assert reason in capsys.readouterr().err
    assert stand_in.seen == []
