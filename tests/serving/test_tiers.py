"""Tiers: versions leave memory and come back with the same answers, within a budget, and what is in use stays."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest
from isolation import K, Truth, hasty, swapped_while_asked
from tiered_engines import FILM, USERS, HeldLoads, evict, in_thread, names, registered, room_for_two, sizes

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.errors import InputError
from llmrec_peft.serving import computing
from llmrec_peft.serving.encoding import OwnPasses
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.refusals import RefusedVersionError, ServingError, UnavailableError, UnknownTenantError
from llmrec_peft.serving.tiers.host_tier import HostTier
from llmrec_peft.serving.tiers.residents import Resident
from llmrec_peft.serving.versions import Placed, Snapshot


@pytest.fixture(scope="session")
def truth(rivals: list[Path]) -> Truth:
    """What the rivals answer alone, for groups of six users."""
    return Truth.of(rivals, 6)


@pytest.fixture(scope="session")
def bytes_of_rivals(rivals: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """What each rival takes in memory."""
    return sizes(rivals, tmp_path_factory.mktemp("sizes"))


def engine_of(tmp_path: Path, host_bytes: int | None, wait_s: float = 60.0, loaders: int = 1) -> Engine:
    return Engine(
        tmp_path / "store", device="cpu", cache_bytes=0, host_bytes=host_bytes, wait_s=wait_s, loaders=loaders
    )


def asked_in_threads(engine: Engine, tenants: list[str], truth: Truth, asks: int, threads: int = 4) -> list[str]:
    """Ask tenants at random from several threads; return what was wrong."""
    wrong = list[str]()

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(asks // threads):
            group, tenant = draw.choice(truth.groups), draw.choice(tenants)
            said = truth.wrong(group, engine.ask(tenant, group, K), exactly=True)
            if said is not None:
                wrong.append(f"{tenant}: {said}")

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(threads)]
    with hasty():
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(300)
    return wrong


@pytest.mark.parametrize("loaders", [1, 2])
def test_answers_are_the_same_to_the_last_bit_while_versions_come_and_go(
    tmp_path: Path, rivals: list[Path], truth: Truth, bytes_of_rivals: list[int], loaders: int
) -> None:
    engine = registered(engine_of(tmp_path, room_for_two(bytes_of_rivals), loaders=loaders), rivals)
    assert asked_in_threads(engine, names(rivals), truth, asks=240) == []
    memory = engine.memory()
    assert memory.evictions >= 20
    assert memory.loads == memory.evictions + memory.ready
    assert memory.failures == memory.refusals == 0
    assert 0 < memory.host_bytes <= room_for_two(bytes_of_rivals)
    assert memory.ready + memory.sealed == 3
    assert memory.hits + memory.waits == 240
    for tenant in names(rivals):
        assert all(engine.audit(answer).same for answer in engine.ask(tenant, USERS[:2]))


def test_no_answer_is_wrong_while_the_tenants_run_is_swapped_and_there_is_no_room_for_all(
    tmp_path: Path, rivals: list[Path], truth: Truth, bytes_of_rivals: list[int]
) -> None:
    engine = engine_of(tmp_path, room_for_two(bytes_of_rivals))
    counts = swapped_while_asked(engine, rivals, truth, asks=150, swaps=12)
    assert counts.wrong == []
    assert counts.evictions >= 10
    assert counts.drops == counts.loads + counts.made_again - len(engine.in_memory)
    assert len(counts.versions) == len(rivals)


def test_stress_finds_a_snapshot_of_another_version(
    tmp_path: Path, rivals: list[Path], truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = HostTier._snapshot
    before: list[Snapshot] = []

    def one_before(tier: HostTier, resident: Resident, placed: Placed) -> Snapshot:
        before.append(found(tier, resident, placed))
        return before[-min(2, len(before))]

    engine = registered(engine_of(tmp_path, None), rivals)
    monkeypatch.setattr(HostTier, "_snapshot", one_before)
    assert asked_in_threads(engine, names(rivals), truth, asks=40, threads=1)


def waiting_in_lists(engine: Engine, tenant: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """Ask a tenant in a thread that stops between its lease and its computing; later asks do not stop."""
    inside, leave, compute = threading.Event(), threading.Event(), computing.lists

    def waiting(*given: Any) -> Any:
        monkeypatch.setattr(computing, "lists", compute)
        inside.set()
        assert leave.wait(60)
        return compute(*given)

    monkeypatch.setattr(computing, "lists", waiting)
    thread, found = in_thread(lambda: engine.ask(tenant, USERS[:6], K))
    assert inside.wait(60)
    return thread, found, leave


def test_version_in_use_is_never_evicted(
    tmp_path: Path, rivals: list[Path], bytes_of_rivals: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [read_manifest(run).digest for run in rivals]
    engine = registered(engine_of(tmp_path, room_for_two(bytes_of_rivals)), rivals)
    known = engine.ask("shop 0", USERS[:6], K)
    thread, found, leave = waiting_in_lists(engine, "shop 0", monkeypatch)
    for _ in range(3):
        for tenant in ("shop 1", "shop 2"):
            engine.ask(tenant, USERS, K)
            assert digests[0] in engine.in_memory
    assert engine.memory().evictions >= 5
    leave.set()
    thread.join(60)
    assert found == [known]


def test_mutation_that_evicts_what_is_in_use_is_found(
    tmp_path: Path, rivals: list[Path], bytes_of_rivals: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = registered(engine_of(tmp_path, room_for_two(bytes_of_rivals)), rivals)
    for tenant in ("shop 1", "shop 2", "shop 1", "shop 2"):
        engine.ask(tenant, USERS, K)
    thread, _, leave = waiting_in_lists(engine, "shop 0", monkeypatch)
    monkeypatch.setattr(Resident, "evictable", property(lambda one: one.version is not None))
    engine.ask("shop 1", USERS, K)
    engine.ask("shop 2", USERS, K)
    assert read_manifest(rivals[0]).digest not in engine.in_memory
    leave.set()
    thread.join(60)


def test_no_room_beside_what_is_in_use_is_an_error_that_says_so(
    tmp_path: Path, rivals: list[Path], bytes_of_rivals: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = registered(engine_of(tmp_path, max(bytes_of_rivals), wait_s=0.3), rivals)
    expected = engine.ask("shop 1", USERS, K)
    thread, found, leave = waiting_in_lists(engine, "shop 0", monkeypatch)
    with pytest.raises(
        UnavailableError, match=r"tenant 'shop 1': .* within 0\.3 s: no room .* [1-9][0-9,]* are in use"
    ):
        engine.ask("shop 1", USERS, K)
    assert engine.standing("shop 1").conditions[0].tier == "sealed", "nobody waits any more"
    waits, after = in_thread(lambda: engine.ask("shop 1", USERS, K))
    leave.set()
    thread.join(60)
    waits.join(60)
    assert found[0][0].items
    assert after == [expected], "it gets the room of the one that ended"


def test_version_larger_than_the_budget_is_refused_with_both_figures(
    tmp_path: Path, rivals: list[Path], bytes_of_rivals: list[int]
) -> None:
    engine = engine_of(tmp_path, min(bytes_of_rivals) // 2)
    with pytest.raises(RefusedVersionError, match=rf"takes [0-9,]+ bytes .* {min(bytes_of_rivals) // 2:,} for all"):
        engine.register("shop 0", rivals[0])
    assert engine.tenants == ()
    assert engine.in_memory == {}
    assert engine.memory().host_bytes == 0
    for name, value in (("host_bytes", 0), ("wait_s", -1), ("loaders", 0)):
        with pytest.raises(InputError, match=f"{name} is a number above 0"):
            Engine(tmp_path / "other", device="cpu", **{name: value})  # type: ignore[arg-type]


def test_pinned_versions_stay_and_leave_no_room_for_what_does_not_fit_beside_them(
    tmp_path: Path, rivals: list[Path], bytes_of_rivals: list[int]
) -> None:
    engine = registered(engine_of(tmp_path, bytes_of_rivals[0] + max(bytes_of_rivals[1:])), rivals)
    pinned = read_manifest(rivals[0]).digest
    assert engine.pin("shop 0").pinned
    assert engine.pin("shop 0").conditions[0].pinned, "once more changes nothing"
    for _ in range(3):
        for tenant in ("shop 1", "shop 2"):
            engine.ask(tenant, USERS, K)
            assert pinned in engine.in_memory
    assert engine.memory().pinned_bytes >= bytes_of_rivals[0] // 2
    engine.pin("shop 1")
    with pytest.raises(UnavailableError, match=r"tenant 'shop 2': no room in memory: .* are pinned and 0 are in use"):
        engine.ask("shop 2", USERS, K)
    with pytest.raises(ServingError, match="no room"):
        engine.pin("shop 2")
    engine.unpin("shop 1")
    assert engine.ask("shop 2", USERS, K)[0].items
    assert not engine.unpin("shop 0").pinned
    assert engine.memory().pinned_bytes == 0
    with pytest.raises(UnknownTenantError):
        engine.pin("nobody")


def test_pin_goes_with_the_tenant_when_its_run_is_swapped(
    tmp_path: Path, rivals: list[Path], bytes_of_rivals: list[int]
) -> None:
    engine = engine_of(tmp_path, max(bytes_of_rivals) + min(bytes_of_rivals) - 1)
    engine.register("shop", rivals[0])
    engine.pin("shop")
    standing = engine.swap("shop", rivals[1])
    assert [one.pinned for one in standing.conditions] == [True, False]
    assert read_manifest(rivals[1]).digest in engine.in_memory
    assert engine.ask("shop", USERS, K)[0].version == read_manifest(rivals[1]).digest
    engine.unregister("shop")
    assert engine.memory().pinned_bytes == engine.memory().host_bytes == 0


def test_trial_of_a_pinned_tenant_needs_room_beside_the_version_that_answers(
    tmp_path: Path, rivals: list[Path], bytes_of_rivals: list[int]
) -> None:
    engine = engine_of(tmp_path, max(bytes_of_rivals) + min(bytes_of_rivals) // 2)
    engine.register("shop", rivals[0])
    engine.pin("shop")
    with pytest.raises(RefusedVersionError, match=r"what is pinned would take [0-9,]+ of the "):
        engine.swap("shop", rivals[1], share=0.5)
    assert engine.standing("shop").trial is None
    engine.swap("shop", rivals[0], share=0.5, keep_items=False)
    engine.unpin("shop")
    assert engine.memory().pinned_bytes == 0, "one version is pinned twice and unpinned twice"


def test_one_load_serves_all_who_ask_meanwhile(tmp_path: Path, rivals: list[Path]) -> None:
    engine = registered(engine_of(tmp_path, None), rivals[:1])
    known = engine.ask("shop 0", USERS, K)
    evict(engine, "shop 0")
    held = HeldLoads().of(engine)
    askers = [in_thread(lambda: engine.ask("shop 0", USERS, K)) for _ in range(8)]
    assert held.begun.wait(60)
    while engine.memory().waits < 8:
        held.go.wait(0.01)
    assert engine.standing("shop 0").conditions[0].tier == "loading"
    held.go.set()
    for thread, _ in askers:
        thread.join(60)
    assert [found for _, found in askers] == [[known]] * 8
    assert len(held.loads) == 1


def test_load_that_takes_too_long_holds_up_nobody_else(tmp_path: Path, rivals: list[Path]) -> None:
    engine = registered(engine_of(tmp_path, None, wait_s=0.2), rivals[:2])
    known, late = engine.ask("shop 1", USERS, K), engine.ask("shop 0", USERS, K)
    evict(engine, "shop 0")
    held = HeldLoads().of(engine)
    with pytest.raises(UnavailableError, match=r"tenant 'shop 0': its version was not in memory within 0\.2 s$"):
        engine.ask("shop 0", USERS, K)
    assert held.begun.is_set()
    for _ in range(20):
        assert engine.ask("shop 1", USERS, K) == known, "while the other one is being loaded"
    held.go.set()
    while engine.standing("shop 0").conditions[0].tier != "ready":
        held.begun.wait(0.01)
    assert engine.ask("shop 0", USERS, K) == late, "the load went on"
    assert engine.memory().refusals == 1


def test_tenant_that_is_unregistered_while_it_is_loaded_leaves_nothing(tmp_path: Path, rivals: list[Path]) -> None:
    engine = registered(engine_of(tmp_path, None), rivals[:1])
    known = engine.ask("shop 0", USERS, K)
    evict(engine, "shop 0")
    held = HeldLoads().of(engine)
    thread, found = in_thread(lambda: engine.ask("shop 0", USERS, K))
    assert held.begun.wait(60)
    engine.unregister("shop 0")
    held.go.set()
    thread.join(60)
    assert found == [known], "the ask ends on the version that it found"
    assert engine._tier.residents() == []
    assert engine.memory().host_bytes == 0


class NoMorePasses(OwnPasses):
    """An encoder that refuses."""

    def items(self, version: object, texts: object) -> Any:
        raise AssertionError("a text is encoded")


def test_added_items_come_back_with_the_version_and_no_text_is_encoded(tmp_path: Path, rivals: list[Path]) -> None:
    engine = registered(engine_of(tmp_path, None), rivals[:1])
    for number in range(3):
        engine.add_items("shop 0", [FILM | {"item_id": f"new {number} {at}", "year": 1990 + at} for at in range(2)])
    items = [f"new {number} {at}" for number in range(3) for at in range(2)]
    scores, lists = engine.score("shop 0", ["1"] * 6, items), engine.ask("shop 0", USERS, 400)
    standing = engine.standing("shop 0")
    assert standing.main.state == 3
    evict(engine, "shop 0")
    assert engine.memory().added_bytes == 6 * 32 * 4
    engine._encoder = NoMorePasses()
    again = engine.score("shop 0", ["1"] * 6, items)
    assert again.values.tobytes() == scores.values.tobytes()
    assert again.identities == scores.identities
    assert engine.ask("shop 0", USERS, 400) == lists
    assert engine.standing("shop 0") == standing


def test_rollback_brings_back_a_version_that_has_left_memory(
    tmp_path: Path, rivals: list[Path], bytes_of_rivals: list[int]
) -> None:
    engine = engine_of(tmp_path, max(bytes_of_rivals))
    engine.register("shop", rivals[0])
    before = engine.ask("shop", USERS, K)
    engine.swap("shop", rivals[1])
    engine.ask("shop", USERS, K)
    assert list(engine.in_memory) == [read_manifest(rivals[1]).digest], "no room for both"
    assert [one.tier for one in engine.standing("shop").conditions] == ["ready", "sealed"]
    engine.rollback("shop")
    assert engine.ask("shop", USERS, K) == before


def test_ask_that_began_before_a_change_gets_its_state_back_from_the_disk(
    tmp_path: Path, rivals: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = registered(engine_of(tmp_path, None), rivals[:1])
    engine.add_items("shop 0", [FILM])
    known = engine.ask("shop 0", USERS, 400)
    looked_up, changed, leased = threading.Event(), threading.Event(), engine._tier.leased

    def waiting(placed: Placed, beside: str | None = None, wait_s: float | None = None) -> Any:
        if beside is None and not changed.is_set():
            looked_up.set()
            assert changed.wait(60)
        return leased(placed, beside, wait_s)

    monkeypatch.setattr(engine._tier, "leased", waiting)
    thread, found = in_thread(lambda: engine.ask("shop 0", USERS, 400))
    assert looked_up.wait(60)
    engine.add_items("shop 0", [FILM | {"item_id": "newer"}])
    evict(engine, "shop 0")
    changed.set()
    thread.join(60)
    assert found == [known]
    assert engine.ask("shop 0", USERS, 400)[0].state == 2
