"""`llmrec tenants` and `llmrec loadtest` on the real server: what they send is what it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_server import Running, running

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.cli.main import main
from llmrec_peft.serving.http.client.client import Client
from llmrec_peft.serving.http.client.connection import ServerError

pytestmark = pytest.mark.trains


@pytest.fixture
def server(tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server with one tenant, which the environment names with its admin key."""
    with running(tmp_path / "state", {"films": tiny_run}) as server:
        monkeypatch.setenv("LLMREC_URL", server.url)
        monkeypatch.setenv("LLMREC_KEY", server.admin_key)
        monkeypatch.chdir(tmp_path)
        yield server


def run(*arguments: str) -> int:
    """Run `llmrec`, and return the exit code."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_a_tenant_is_added_pinned_keyed_asked_and_forgotten(
    server: Running, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = read_manifest(tiny_run).digest
    assert run("tenants", "add", "books", str(tiny_run), "--digest", digest, "--queue-weight", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["main"]["version"] == digest
    assert run("tenants", "pin", "books") == 0
    assert run("tenants", "reload", "books") == 0
    assert run("tenants", "rollback", "books") == 2
    assert "no former version" in capsys.readouterr().err
    assert run("tenants", "key", "books", "--scope", "ask,write", "--out", "books.key") == 0
    with Client(server.url, key_file=tmp_path / "books.key") as books:
        assert books.recommend("books", "1", k=3).answers[0].version == digest
        books.send_events("books", [{"user_id": "1", "item_id": "1", "label": 5.0, "event_id": "e1"}])
        with pytest.raises(ServerError, match="403 forbidden"):
            books.recommend("films", "1")
        key_id = (tmp_path / "books.key").read_text(encoding="ascii")[7:15]
        assert run("tenants", "events", "books", "--out", "events.csv") == 0
        assert (tmp_path / "events.csv").read_text(encoding="utf-8").splitlines()[1].startswith("1,1,5.0,")
        assert run("tenants", "key-end", "books", key_id) == 0
        with pytest.raises(ServerError, match="401 no_key"):
            books.recommend("books", "1")
    assert run("tenants", "key", "--admin", "--label", "night", "--json") == 0
    capsys.readouterr()
    assert run("tenants", "keys", "--admin", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert run("tenants", "rm", "books", "--yes") == 0
    assert run("tenants", "list", "--json") == 0
    assert [one["tenant"] for one in json.loads(capsys.readouterr().out)] == ["films"]


def test_a_load_test_is_answered(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("loadtest", "--rate", "40", "--requests", "40", "--user-range", "1-30", "--json", "-k", "3") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["statuses"] == {"200": 40}
