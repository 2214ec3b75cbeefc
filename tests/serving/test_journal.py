"""Journal: it is told of a change before the change answers, and what it refuses has not happened."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiered_engines import FILM, USERS, HeldLoads, room_for_two, sizes
from written_down import Notes

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.refusals import ServingError, UnavailableError, UnknownTenantError

SHOP = "shop"


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def told(tmp_path: Path, notes: Notes, rivals: list[Path]) -> Iterator[Engine]:
    """An engine with a journal and a tenant, who has a version to go back to, and one on trial."""
    with Engine(tmp_path / "store", device="cpu", cache_bytes=0, journal=notes) as engine:
        engine.register(SHOP, rivals[0])
        engine.swap(SHOP, rivals[1])
        engine.swap(SHOP, rivals[2], share=0.5)
        yield engine


def digest(run: Path) -> str:
    return read_manifest(run).digest


CHANGES: dict[str, Callable[[Engine, list[Path]], object]] = {
    "begin": lambda engine, runs: engine.register("second", runs[0]),
    "replace": lambda engine, runs: engine.add_items(SHOP, [FILM]),
    "replace by a swap": lambda engine, runs: engine.swap(SHOP, runs[0]),
    "replace by a weight": lambda engine, runs: engine.weight(SHOP, digest(runs[2]), 1),
    "replace by a rollback": lambda engine, runs: engine.rollback(SHOP),
    "pin": lambda engine, runs: engine.pin(SHOP),
    "end": lambda engine, runs: engine.unregister(SHOP),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_journal_refuses_has_not_happened(change: str, told: Engine, notes: Notes, rivals: list[Path]) -> None:
    before, used, answers = told.standing(SHOP), told.in_memory, told.ask(SHOP, USERS)
    notes.refuse = True
    with pytest.raises(UnavailableError, match="the disk is full"):
        CHANGES[change](told, rivals)
    assert told.tenants == (SHOP,)
    assert told.standing(SHOP) == before
    assert told.in_memory == used, "nothing is counted that was not changed"
    assert told.ask(SHOP, USERS) == answers
    notes.refuse = False
    CHANGES[change](told, rivals)
    assert notes.told[-1][0] == change.split(maxsplit=1)[0]


@pytest.mark.parametrize("change", CHANGES)
def test_journal_is_told_before_the_change_answers_and_holds_no_ask(
    change: str, told: Engine, notes: Notes, rivals: list[Path]
) -> None:
    before, answered = told.standing(SHOP), list[object]()

    def ask() -> None:
        answered.append((told.standing(SHOP), told.ask(SHOP, ["1"])[0].identity in (before.main, before.trial)))

    def meanwhile() -> None:
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join(60)

    notes.meanwhile = meanwhile
    CHANGES[change](told, rivals)
    assert answered == [(before, True)]


def test_pinned_tenant_keeps_its_pins_when_the_journal_refuses(told: Engine, notes: Notes, rivals: list[Path]) -> None:
    told.pin(SHOP)
    pinned = told.memory().pinned_bytes
    notes.refuse = True
    for change in (lambda: told.swap(SHOP, rivals[0]), lambda: told.unpin(SHOP), lambda: told.rollback(SHOP)):
        with pytest.raises(UnavailableError, match="the disk is full"):
            change()
        assert told.standing(SHOP).pinned
        assert told.memory().pinned_bytes == pinned
    notes.refuse = False
    told.unpin(SHOP)
    assert told.memory().pinned_bytes == 0
    assert notes.pinned == set()


def test_no_room_for_what_is_pinned_is_known_before_the_journal_is_told(tmp_path: Path, rivals: list[Path]) -> None:
    notes, bytes_of = Notes(), sizes(rivals, tmp_path / "sizes")
    with Engine(
        tmp_path / "store", device="cpu", cache_bytes=0, host_bytes=room_for_two(bytes_of), journal=notes
    ) as engine:
        engine.register(SHOP, rivals[0])
        engine.register("second", rivals[1])
        engine.pin(SHOP)
        engine.pin("second")
        told = list(notes.told)
        with pytest.raises(ServingError, match="no room in memory"):
            engine.swap(SHOP, rivals[2], share=0.5)  # three would be pinned
        assert notes.told == told
        assert engine.standing(SHOP).trial is None


def test_change_that_changes_nothing_is_not_told(told: Engine, notes: Notes, rivals: list[Path]) -> None:
    before = list(notes.told)
    told.add_items(SHOP, [])
    told.unpin(SHOP)
    told.reload(SHOP)
    with pytest.raises(UnknownTenantError):
        told.unregister("nobody")
    assert notes.told == before


def test_restored_tenant_answers_as_before_and_its_events_go_on(
    told: Engine, notes: Notes, rivals: list[Path], tmp_path: Path
) -> None:
    told.add_items(SHOP, [FILM])
    before, answers = told.standing(SHOP), told.ask(SHOP, USERS)
    scores = told.score(SHOP, USERS, ["new"] * len(USERS))
    told.close()
    again = Notes()
    with Engine(told.store, device="cpu", cache_bytes=0, journal=again) as engine:
        engine.restore(SHOP, notes.routes[SHOP])
        assert again.told == [], "what a journal has is not written once more"
        assert engine.in_memory == {}
        assert {one.tier for one in engine.standing(SHOP).conditions} == {"sealed"}
        found = engine.score(SHOP, USERS, ["new"] * len(USERS))
        assert found.values.tolist() == scores.values.tolist(), "no text was encoded once more"
        assert engine.ask(SHOP, USERS) == answers
        assert engine.standing(SHOP) == before
        assert engine.audit(answers[0]).same
        assert engine.add_items(SHOP, [{**FILM, "item_id": "newer"}]).main.state == before.main.state + 1
        with pytest.raises(ServingError, match="is registered already"):
            engine.restore(SHOP, notes.routes[SHOP])


def test_versions_of_a_restored_pinned_tenant_are_loaded_in_the_background(
    told: Engine, notes: Notes, rivals: list[Path]
) -> None:
    with Engine(told.store, device="cpu", cache_bytes=0) as engine:
        held = HeldLoads().of(engine)
        engine.restore(SHOP, notes.routes[SHOP], pinned=True)
        assert held.begun.wait(60), "nobody asked"
        assert engine.standing(SHOP).pinned
        held.go.set()
        engine.reload(SHOP)
        assert sorted(held.loads) == sorted(map(digest, rivals[1:])), "each of those that answer, once"
        assert engine.memory().pinned_bytes == engine.memory().host_bytes > 0
        assert all(count == 1 for count in engine.in_memory.values()), "the background uses nothing"
        engine.unpin(SHOP)
        assert engine.memory().pinned_bytes == 0


def test_restored_pinned_version_that_is_gone_has_failed_and_others_answer(
    told: Engine, notes: Notes, rivals: list[Path]
) -> None:
    told.register("second", rivals[0])
    lost = notes.routes[SHOP].main.sealed.folder
    with Engine(told.store, device="cpu", cache_bytes=0) as engine:
        lost.rename(lost.with_name("lost"))
        engine.restore(SHOP, notes.routes[SHOP], pinned=True)
        engine.restore("second", notes.routes["second"])
        assert len(engine.ask("second", USERS)) == len(USERS)
        with pytest.raises(ServingError):
            engine.reload(SHOP)
        assert engine.standing(SHOP).conditions[0].tier == "failed"
