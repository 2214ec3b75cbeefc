"""The server's page over real runs: what it shows is what the engine answers, and each change is the engine's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from running_server import Running, running

pytestmark = pytest.mark.trains
ID = re.compile(r'name="item_id" value="([^"]+)"')


@pytest.fixture(scope="module")
def served(rivals: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of two tenants."""
    runs = {"films": rivals[0], "books": rivals[1]}
    with running(tmp_path_factory.mktemp("page") / "state", runs, roots=[rivals[2].parent]) as found:
        yield found


def opened(served: Running, key: str | None = None) -> httpx.Client:
    """A client of the page with a key."""
    headers = {"Authorization": f"Bearer {served.admin_key if key is None else key}"}
    return httpx.Client(base_url=served.url, headers=headers, timeout=60)


def expected(client: httpx.Client) -> str:
    """What the page's forms say of the versions that it showed."""
    found = re.search(r'name="expected" value="([^"]+)"', client.get("/page/tenants/films").text)
    assert found is not None
    return found[1]


def test_list_and_evidence_are_those_of_the_engine(served: Running) -> None:
    answer = served.host.engine.ask("films", ["7"], 3)[0]
    with opened(served) as client:
        shown = client.post("/page/tenants/films/try", data={"user_id": "7", "k": "3"})
        assert ID.findall(shown.text) == [item.item_id for item in answer.items]
        assert shown.headers["llmrec-state-digest"] == answer.state_digest
        data = {"user_id": "7", "item_id": answer.items[0].item_id}
        why = client.post("/page/tenants/films/explain", data=data)
    assert why.status_code == 200
    assert f"{answer.items[0].score:.4f}" in why.text
    assert "Items of the user&#39;s history" in why.text


def test_swap_on_trial_and_its_end_change_the_engine(served: Running, rivals: list[Path]) -> None:
    engine = served.host.engine
    main = engine.standing("films").main
    with opened(served) as client:
        fields = {"run": str(rivals[2]), "percent": "5", "keep_items": "true", "expected": expected(client)}
        assert client.post("/page/tenants/films/swap", data=fields).status_code == 200
        trial = engine.standing("films").trial
        assert trial is not None
        assert trial.version[:12] in client.get("/page/board").text
        fields = {"version": trial.version, "percent": "100", "expected": expected(client)}
        assert client.post("/page/tenants/films/weight", data=fields).status_code == 200
        assert engine.standing("films").main == trial
        client.post("/page/tenants/films/rollback", data={"expected": expected(client)}).raise_for_status()
    assert engine.standing("films").main == main


def test_refused_run_is_told_and_changes_nothing(served: Running, tmp_path: Path) -> None:
    before = served.host.engine.standing("films")
    with opened(served) as client:
        fields = {"run": str(tmp_path), "expected": expected(client)}
        answer = client.post("/page/tenants/films/swap", data=fields)
    assert answer.status_code in (400, 409)
    assert answer.json()["error"]["message"]
    assert served.host.engine.standing("films") == before


def test_tenants_key_opens_its_own_part_alone(served: Running) -> None:
    with opened(served, served.new_key("films", "ask")) as client:
        board = client.get("/page/board").text
        assert 'id="open-films"' in board
        assert "books" not in board
        assert client.get("/page/tenants/books").content == client.get("/page/tenants/nobody").content


def test_metrics_name_routes_of_the_page_and_nothing_of_whom_it_was_asked_for(served: Running) -> None:
    with opened(served) as client:
        client.post("/page/tenants/films/try", data={"user_id": "reader-x"})
        client.get("/page/tenants/films-of-a-stranger")
        told = client.get("/metrics").text
    assert 'route="/page/tenants/{tenant}/try"' in told
    assert "reader-x" not in told
    assert "stranger" not in told
