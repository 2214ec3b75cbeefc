"""Writer: many callers' work in one commit, an error for its caller alone, and trouble that passes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_up_routes import version, with_items

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http.registry.database import RegistryError, open_for_writing
from llmrec_peft.serving.http.registry.registry import FILE, Registry
from llmrec_peft.serving.http.registry.writer import Writer
from llmrec_peft.serving.http.schemas import EventIn
from llmrec_peft.serving.refusals import UnavailableError
from llmrec_peft.serving.routes import Route


@pytest.fixture
def connection(state: Path) -> sqlite3.Connection:
    """A registry's file with a table of numbers."""
    connection = open_for_writing(state / FILE, 0.05)
    connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
    return connection


@pytest.fixture
def writer(connection: sqlite3.Connection) -> Iterator[Writer]:
    writer = Writer(connection)
    yield writer
    writer.close()


def put(number: int) -> Callable[[sqlite3.Connection], int]:
    def work(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        if number < 0:
            raise InputError("a number below 0")
        return number

    return work


def numbers(state: Path) -> list[int]:
    """What another connection reads."""
    with sqlite3.connect(state / FILE) as connection:
        found = [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY number")]
    connection.close()
    return found


def all_at_once(writer: Writer, works: list[Callable[[sqlite3.Connection], object]]) -> list[object]:
    """What each work returned or raised, when all of them waited for the thread together."""
    begun, go, found = threading.Event(), threading.Event(), dict[int, object]()

    def hold(_: sqlite3.Connection) -> None:
        begun.set()
        assert go.wait(60)

    def do(place: int, work: Callable[[sqlite3.Connection], object]) -> None:
        try:
            found[place] = writer.do(work)
        except Exception as error:  # noqa: BLE001 - looked at by the test
            found[place] = error

    holder = threading.Thread(target=writer.do, args=(hold,))
    holder.start()
    assert begun.wait(60)
    callers = []
    for place, work in enumerate(works):
        callers.append(threading.Thread(target=do, args=(place, work)))
        callers[-1].start()
        while len(writer._queue) <= place:
            pass
    go.set()
    for caller in (holder, *callers):
        caller.join(60)
    return [found[place] for place in range(len(works))]


def test_work_that_waits_is_committed_together(writer: Writer, state: Path) -> None:
    commits = list[str]()
    writer._connection.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
    assert all_at_once(writer, [put(number) for number in range(10)]) == list(range(10))
    assert numbers(state) == list(range(10))
    assert len(commits) == 2, "what held the thread, and all ten"


def test_error_reaches_its_own_caller_and_undoes_its_own_work(writer: Writer, state: Path) -> None:
    first, wrong, again, last = all_at_once(writer, [put(1), put(-2), put(1), put(4)])
    assert (first, last) == (1, 4)
    assert isinstance(wrong, InputError)
    assert isinstance(again, sqlite3.IntegrityError), "a defect keeps its type"
    assert numbers(state) == [1, 4]
    assert writer.trouble is None


def test_group_that_fails_as_a_whole_is_done_piece_by_piece(writer: Writer, state: Path) -> None:
    def roll_back(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")  # as SQLite does by itself when the disk is full
        raise sqlite3.OperationalError("the disk is full")

    first, wrong, last = all_at_once(writer, [put(1), roll_back, put(3)])
    assert (first, last) == (1, 3)
    assert isinstance(wrong, RegistryError)
    assert numbers(state) == [1, 3]


def test_nothing_is_written_after_the_end(connection: sqlite3.Connection, state: Path) -> None:
    writer = Writer(connection)
    assert writer.do(put(1)) == 1
    writer.close()
    with pytest.raises(RegistryError, match="closed"):
        writer.do(put(2))
    assert numbers(state) == [1]


def test_locked_registry_is_trouble_until_something_is_written(registry: Registry, state: Path) -> None:
    registry.begin("shop", Route(version(state / "store", "a")))
    other = sqlite3.connect(state / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match=r"tenant 'shop': .*another program holds it locked") as caught:
        registry.add_events("shop", [EventIn(user_id="u", item_id="i")])
    assert caught.value.retry_s == 1.0
    assert registry.trouble() == "another program holds it locked"
    assert registry.events("shop") == [], "who reads waits for nobody"
    assert len(registry.tenants()) == 1
    other.execute("ROLLBACK")
    other.close()
    assert registry.trouble() is not None
    assert registry.add_events("shop", [EventIn(user_id="u", item_id="i")]).last == 1
    assert registry.trouble() is None


def test_full_disk_is_trouble_and_leaves_what_was_there(registry: Registry, state: Path) -> None:
    registry.begin("shop", Route(version(state / "store", "a")))
    registry.add_events("shop", [EventIn(user_id="u", item_id="i")])
    registry._writer.do(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchone())
    events = [EventIn(user_id="u" * 500, item_id=str(number)) for number in range(1000)]
    with pytest.raises(UnavailableError, match="the disk is full"):
        registry.add_events("shop", events)
    assert registry.trouble() == "the disk is full"
    grown = with_items(version(state / "store", "a"), [str(number) for number in range(500)], 100)
    with pytest.raises(UnavailableError, match="the disk is full"):
        registry.replace("shop", Route(grown))
    assert len(registry.events("shop")) == 1, "all of a request or none"
    registry._writer.do(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchone())
    assert registry.add_events("shop", events).last == 1001
    assert registry.trouble() is None
