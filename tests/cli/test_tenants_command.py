"""`llmrec tenants`: each command asks the server for one thing, and keys are seen once and by their owner alone."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from stand_in import DIGEST, KEY, StandIn, begun, standing

from llmrec_peft.cli import server
from llmrec_peft.cli.main import main
from llmrec_peft.serving.http.client import connection


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """A server with the tenants films and books, which the environment names, with its key."""
    server = begun()
    monkeypatch.setenv("LLMREC_URL", server.url)
    monkeypatch.setenv("LLMREC_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    return server


def run(*arguments: str) -> int:
    """Run `llmrec tenants`, and return the exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["tenants", *arguments])
    return int(ended.value.code or 0)


def asked(stand_in: StandIn) -> list[tuple[str, str, Any]]:
    """Method, path and body of each request."""
    return [(method, path, json.loads(body) if body else None) for method, path, _, body in stand_in.seen]


def test_the_address_is_the_one_on_which_servers_listen() -> None:
    assert server.URL == connection.URL


def test_tenants_are_listed_for_people_and_for_scripts(stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["films", "books"]
    assert DIGEST[:12] in lines[2]
    assert run("list", "--json") == 0
    assert [one["tenant"] for one in json.loads(capsys.readouterr().out)] == ["films", "books"]


def test_a_tenant_is_shown_with_whole_digests_its_trial_and_its_failures(
    stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    other = "f" * 64
    failure = {"reason": "a file is missing", "attempts": 2, "next_try": None}
    condition = {"version": other, "tier": "failed", "pinned": False, "nbytes": 0, "failure": failure}
    trial = {"version": other, "state": 3, "state_digest": "0" * 64}
    told = standing("films", trial=trial, share=0.25, notes=["histories did not come"], conditions=[condition])
    stand_in.answers.append((200, {}, told))
    assert run("show", "films") == 0
    out = capsys.readouterr().out
    for text in (DIGEST, other, "25%", "failed 2 times: a file is missing", "histories did not come"):
        assert text in out, text


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (("add", "films", "/runs/films"), ("PUT", "", {"run": "/runs/films", "share": 1.0, "keep_items": True})),
        (
            ("add", "films", "no/folder", "--share", "0.05", "--digest", DIGEST, "--queue-weight", "2", "--drop-items"),
            (
                "PUT",
                "",
                {"run": "no/folder", "digest": DIGEST, "share": 0.05, "keep_items": False, "queue_weight": 2.0},
            ),
        ),
        (("weight", "films", DIGEST, "0.5"), ("POST", "/weight", {"version": DIGEST, "share": 0.5})),
        (("rollback", "films"), ("POST", "/rollback", {"keep_items": True})),
        (("pin", "films"), ("POST", "/pin", {"pinned": True})),
        (("pin", "films", "--off"), ("POST", "/pin", {"pinned": False})),
        (("reload", "films"), ("POST", "/reload", None)),
        (("rm", "films", "--yes"), ("DELETE", "", None)),
        (("key-end", "films", "00000001"), ("DELETE", "/keys/00000001", None)),
        (("key-end", "films", "00000001", "--after", "10m"), ("DELETE", "/keys/00000001?after_s=600", None)),
    ],
)
def test_a_change_is_one_request(stand_in: StandIn, arguments: tuple[str, ...], request_: tuple[str, str, Any]) -> None:
    assert run(*arguments) == 0
    method, below, body = request_
    assert asked(stand_in)[-1] == (method, f"/v1/tenants/films{below}", body)


def test_a_folder_that_is_here_is_named_by_its_whole_path(stand_in: StandIn, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert run("add", "films", "runs") == 0
    assert asked(stand_in)[0][2]["run"] == str(tmp_path / "runs")


def test_a_digest_may_be_cut_where_it_is_that_of_the_trial(stand_in: StandIn) -> None:
    trial = {"version": "ab" * 32, "state": 0, "state_digest": "0" * 64}
    stand_in.answers.append((200, {}, standing("films", trial=trial, share=0.1)))
    assert run("weight", "films", "abab", "1") == 0
    assert asked(stand_in)[-1][2] == {"version": "ab" * 32, "share": 1.0}


def test_forgetting_asks_first(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for answer, code in (("n\n", 130), ("y\n", 0)):
        stand_in.begin()
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert run("rm", "films") == code
        assert ("DELETE" in [method for method, *_ in stand_in.seen]) == (answer == "y\n")


def test_a_new_key_is_printed_once_and_alone_on_stdout(stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("key", "films", "--scope", "ask,write", "--expires", "30d", "--label", "shop") == 0
    printed = capsys.readouterr()
    assert printed.out == f"{KEY}\n"
    assert KEY not in printed.err
    body = {"scopes": ["ask", "write"], "expires_s": 30 * 86_400.0, "label": "shop"}
    assert asked(stand_in) == [("POST", "/v1/tenants/films/keys", body)]


def test_a_new_key_is_written_for_its_owner_alone(
    stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("key", "films", "--out", "films.key") == 0
    file = tmp_path / "films.key"
    assert file.read_text(encoding="ascii") == f"{KEY}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    printed = capsys.readouterr()
    assert KEY not in printed.out + printed.err
    stand_in.begin()
    assert run("key", "films", "--out", "films.key") == 2
    assert stand_in.seen == []


def test_a_key_that_could_not_be_written_is_ended(stand_in: StandIn) -> None:
    assert run("key", "films", "--out", "no/folder/films.key") == 2
    assert [one[:2] for one in asked(stand_in)] == [
        ("POST", "/v1/tenants/films/keys"),
        ("DELETE", "/v1/tenants/films/keys/00000001"),
    ]


def test_admins_have_keys_of_their_own(stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("key", "--admin", "--label", "night") == 0
    assert capsys.readouterr().out == f"{KEY}\n"
    assert run("keys", "--admin") == 0
    assert run("key-end", "--admin", "00000001", "--after", "1h") == 0
    assert asked(stand_in) == [
        ("POST", "/v1/keys", {"label": "night"}),
        ("GET", "/v1/keys", None),
        ("DELETE", "/v1/keys/00000001?after_s=3600", None),
    ]


def test_keys_are_listed_without_their_texts(stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keys", "films") == 0
    out = capsys.readouterr().out
    assert "00000001" in out
    assert "1970-01-01 00:00 UTC" in out
    assert "never" in out
    assert KEY not in out


def test_events_become_interactions(stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = {"event_id": None, "sequence": 0, "received": 1_700_000_001.9}
    stand_in.events += [
        {**fields, "sequence": 1, "user_id": "1", "item_id": "a,b", "label": 4.0, "timestamp": 1_600_000_000.5},
        {**fields, "sequence": 2, "user_id": "2", "item_id": "50", "label": None, "timestamp": None},
    ]
    assert run("events", "films", "--out", "events.csv") == 0
    assert "the last one is 2" in capsys.readouterr().err
    rows = list(csv.DictReader((tmp_path / "events.csv").open(encoding="utf-8")))
    assert rows == [
        {"user_id": "1", "item_id": "a,b", "label": "4.0", "timestamp": "1600000000"},
        {"user_id": "2", "item_id": "50", "label": "", "timestamp": "1700000001"},
    ]
    assert run("events", "films", "--out", "events.parquet", "--after", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"events": 1, "without_label": 1, "last": 2}
    assert pq.read_table(tmp_path / "events.parquet").to_pylist() == [
        {"user_id": "2", "item_id": "50", "label": None, "timestamp": 1_700_000_001}
    ]
    assert run("events", "films", "--out", "events.csv") == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("show", "../admin"), "is no tenant's name"),
        (("key", "films", "--expires", "soon"), "--expires: 'soon' is no duration; write it as 30d"),
        (("key", "films", "--scope", "aks"), "did you mean 'ask'?"),
        (("key-end", "films", "zz"), "is no id of a key"),
        (("key-end", "films", "00000001", "00000002"), "the id of one key"),
        (("key-end", "00000001"), "name the tenant, or give --admin"),
        (("key",), "name the tenant, or give --admin"),
        (("keys", "films", "--admin"), "name the tenant, or give --admin"),
        (("key", "--admin", "--scope", "write"), "may do everything: leave out --scope"),
        (("add", "films", "run", "--digest", "abc"), "digest: String should match"),
        (("list", "--url", "nowhere"), "is no address"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_not_sent(
    stand_in: StandIn, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], reason: str
) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert stand_in.seen == []


def test_without_a_key_nothing_is_sent(
    stand_in: StandIn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLMREC_KEY")
    assert run("list") == 2
    assert "error: no key of the server: --key-file FILE, LLMREC_KEY" in capsys.readouterr().err
    assert stand_in.seen == []


def test_a_refusal_of_the_server_is_one_line(stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in.refuse(409, "refused", "tenant 'films': run abc was changed")
    assert run("add", "films", "/runs/films") == 2
    assert capsys.readouterr().err == "error: tenant 'films': run abc was changed (409 refused)\n"
