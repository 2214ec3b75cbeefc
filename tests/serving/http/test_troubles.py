"""Troubles: what is broken for one tenant, or for the registry, is said, and everything else goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from running_server import Running, running
from tiered_engines import evict

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.serving.http.client.client import Client
from llmrec_peft.serving.http.client.connection import ServerError

pytestmark = pytest.mark.trains
FILM = {"item_id": "new", "title": "Brass Lanterns", "year": 1995, "genres": ["Crime"], "description": "A film."}
EVENT = {"user_id": "1", "item_id": "1", "label": 5.0, "event_id": "e"}


@pytest.fixture
def two(tmp_path: Path, rivals: list[Path]) -> Iterator[Running]:
    """A server of two tenants that keeps no lists and waits no longer than a second."""
    runs = {"a": rivals[0], "b": rivals[1]}
    with running(tmp_path / "state", runs, cache_bytes=0, wait_s=1.0, host_bytes=1 << 30) as served:
        yield served


def ready(served: Running) -> httpx.Response:
    return httpx.get(f"{served.url}/readyz")


def refused(call: Callable[[], object]) -> ServerError:
    with pytest.raises(ServerError) as caught:
        call()
    return caught.value


def sealed(served: Running, run: Path) -> Path:
    return next((served.host.settings.state / "store").glob(f"{read_manifest(run).digest}*"))


def test_a_changed_adapter_is_a_503_with_its_reason_and_the_other_tenant_answers(
    two: Running, rivals: list[Path]
) -> None:
    with two.client() as client:
        before = client.recommend("b", "1")
        evict(two.host.engine, "a")
        folder = sealed(two, rivals[0])
        folder.chmod(0o700)
        head = folder / "head.safetensors"
        data = bytearray(head.read_bytes())
        data[-1] ^= 1
        head.chmod(0o600)
        head.write_bytes(data)
        error = refused(lambda: client.recommend("a", "1"))
        assert (error.status, error.code) == (503, "unavailable")
        assert "head.safetensors" in str(error)
        assert error.retry_after_s is not None
        assert client.recommend("b", "1") == before
        (condition,) = client.tenant("a").conditions
        assert condition.tier == "failed"
        assert condition.failure is not None and "head.safetensors" in condition.failure.reason
        assert client.put_tenant("a", str(rivals[0])).main.version == read_manifest(rivals[0]).digest, "its copy is new"
        assert client.recommend("a", "1").answers[0].items


def test_a_loader_that_is_killed_ends_one_load(two: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = two.host.engine
    evict(engine, "a")
    engine._skeletons._known.clear()
    load = engine._loading.load

    def killed(*_: object, **__: object) -> None:
        raise SystemExit("killed")

    monkeypatch.setattr(engine._loading, "load", killed)
    with two.client() as client:
        assert refused(lambda: client.recommend("a", "1")).status == 503
        assert client.recommend("b", "1").answers[0].items
        monkeypatch.setattr(engine._loading, "load", load)
        assert client.reload("a").conditions[0].tier == "ready"
        assert client.recommend("a", "1").answers[0].items


def test_a_locked_registry_refuses_what_it_cannot_keep_and_lists_go_on(
    two: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(two.host.settings.state / "registry.sqlite", isolation_level=None)
    with two.client() as client:
        state = client.tenant("a").main
        two.host.registry._writer.do(lambda connection: connection.execute("PRAGMA busy_timeout = 200").fetchone())
        other.execute("BEGIN IMMEDIATE")
        for call in (
            lambda: client.send_events("a", [EVENT]),
            lambda: client.add_items("a", [FILM]),
            lambda: client.new_key("a"),
        ):
            error = refused(call)
            assert (error.status, error.retry_after_s is not None) == (503, True)
        assert ready(two).status_code == 503
        assert "locked" in ready(two).text
        assert "locked" in client.overview()["trouble"]
        assert client.tenant("a").main == state, "what is not on disk does not answer"
        assert client.recommend("a", "1").answers[0].state == 0
        other.execute("ROLLBACK")
        other.close()
        assert client.send_events("a", [EVENT]).stored == 1
        assert client.add_items("a", [FILM]).main.state == 1
        assert ready(two).status_code == 200


def test_a_full_disk_is_said_and_lists_go_on(two: Running) -> None:
    registry = two.host.registry
    pages = registry._writer.do(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    registry._writer.do(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    events = [{"user_id": f"u{number}" * 40, "item_id": "1", "label": 1.0} for number in range(2_000)]
    with two.client() as client:
        error = refused(lambda: client.send_events("a", events))
        assert (error.status, "full" in str(error)) == (503, True)
        assert ready(two).status_code == 503
        assert client.recommend("a", "1").answers[0].items
        registry._writer.do(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchone())
        assert client.send_events("a", events).stored == 2_000
        assert [one.sequence for one in client.all_events("a")] == list(range(1, 2_001)), "none of the first try"


def test_a_clock_that_jumps_back_changes_no_order_and_revives_no_key(
    two: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    now = time.time
    with two.client() as admin:
        key = admin.new_key("a", ["write"])
        with Client(two.url, key.key, retries=0) as client:
            client.send_events("a", [{**EVENT, "event_id": "one"}])
            admin.end_key("a", key.key_id)
            monkeypatch.setattr(time, "time", lambda: now() - 86_400)
            assert refused(lambda: client.send_events("a", [EVENT])).status == 401
        admin.send_events("a", [{**EVENT, "event_id": "two"}])
        assert [one.event_id for one in admin.all_events("a")] == ["one", "two"]


def test_runs_come_from_below_roots_alone(two: Running, rivals: list[Path], tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = rivals[0].parent / "link"
    link.symlink_to(rivals[2], target_is_directory=True)
    try:
        with two.client() as client:
            said = set()
            for run in (outside, tmp_path / "nowhere", link, Path("/etc"), rivals[0].parent / ".." / "x", Path("..")):
                error = refused(lambda run=run: client.put_tenant("c", str(run)))
                said.add((error.status, str(error).rpartition("'")[2]))
            assert said == {(400, " is no run folder below a root of this server (400 bad_request)")}
            assert "commit" in str(refused(lambda: client.put_tenant("c", "somebody/films@main")))
    finally:
        link.unlink()


def test_a_tenant_that_cannot_be_restored_is_a_503_with_its_reason_and_the_others_answer(
    tmp_path: Path, rivals: list[Path]
) -> None:
    state, runs = tmp_path / "state", {"a": rivals[0], "b": rivals[1]}
    with running(state, runs, cache_bytes=0) as served, served.client() as client:
        key = client.new_key("a").key
        client.add_items("a", [FILM])
        before = client.recommend("b", "1")
    with sqlite3.connect(state / "registry.sqlite") as harmed:
        harmed.execute("UPDATE states SET rows = replace(rows, '1995', '1996')")
    harmed.close()
    with running(state, {"b": rivals[1]}, [rivals[0].parent], cache_bytes=0) as served, served.client() as admin:
        with Client(served.url, key, retries=0) as client:
            error = refused(lambda: client.recommend("a", "1"))
        assert (error.status, error.code) == (503, "unavailable")
        assert "not restored" in str(error)
        assert error.retry_after_s is not None
        assert "not restored: a" in admin.overview()["trouble"]
        assert admin.recommend("b", "1") == before
        assert ready(served).status_code == 200, "the others are answered"
        admin.put_tenant("a", str(rivals[0]))
        assert admin.overview()["trouble"] is None
        with Client(served.url, key, retries=0) as client:
            assert client.recommend("a", "1").answers[0].state == 0


def test_who_gets_a_name_again_has_no_key_and_no_weight_of_the_former_one(two: Running, rivals: list[Path]) -> None:
    with two.client() as admin:
        key = admin.new_key("a").key
        assert admin.put_tenant("a", str(rivals[0]), queue_weight=5.0).queue_weight == 5.0
        admin.remove_tenant("a")
        assert admin.put_tenant("a", str(rivals[0])).queue_weight == 1.0
        with Client(two.url, key, retries=0) as client:
            assert refused(lambda: client.recommend("a", "1")).status == 401


def test_the_last_admin_key_without_an_end_stays(two: Running) -> None:
    with two.client() as admin:
        first = two.admin_key.split("_")[1]
        short = admin.new_admin_key(3_600.0, "for an hour")
        assert refused(lambda: admin.end_key(None, first)).status == 404
        admin.end_key(None, short.key_id)
        assert admin.tenants(), "the first one is valid"
