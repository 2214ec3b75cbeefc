"""A version that left memory comes back where it is asked for, without a file being read, unless one was touched."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from isolation import K, Truth, hasty
from tiered_engines import FILM, USERS, evict, names, registered, room_for_two, sizes

from llmrec_peft.artifact import mapped_files
from llmrec_peft.run.read_tenant import read_tenant
from llmrec_peft.run.skeleton import Skeleton
from llmrec_peft.serving import loading, skeletons
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.refusals import UnavailableError
from llmrec_peft.serving.skeletons import Skeletons


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files count as settled at once."""
    monkeypatch.setattr(mapped_files, "_SETTLED_NS", -1)


@pytest.fixture
def engine(tmp_path: Path, rivals: list[Path]) -> Engine:
    """Tenants with a run each, in an engine with room for all."""
    return registered(Engine(tmp_path / "store", device="cpu", cache_bytes=0, host_bytes=1 << 30), rivals)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Names of the folders that are read in full, and of the threads that do so."""
    found: list[tuple[str, str]] = []
    read = read_tenant

    def noted(folder: Path, *given: Any, **named: Any) -> Any:
        found.append((folder.name, threading.current_thread().name))
        return read(folder, *given, **named)

    monkeypatch.setattr(loading, "read_tenant", noted)
    return found


def test_version_that_was_loaded_before_comes_back_with_the_same_answers_and_nothing_is_read(
    engine: Engine, rivals: list[Path], reads: list[tuple[str, str]]
) -> None:
    for tenant in names(rivals):
        engine.add_items(tenant, [FILM])
        lists, scores = engine.ask(tenant, USERS, 400), engine.score(tenant, ["1", "2"], ["1", "new"])
        for _ in range(3):
            evict(engine, tenant)
            assert engine.ask(tenant, USERS, 400) == lists
            assert engine.score(tenant, ["1", "2"], ["1", "new"]).values.tobytes() == scores.values.tobytes()
            assert engine.standing(tenant).conditions[0].tier == "ready"
    assert reads == []
    memory = engine.memory()
    assert memory.loads == 4 * len(rivals)
    assert memory.waits == 3 * len(rivals)
    assert 1000 * len(rivals) < memory.skeleton_bytes < 30_000 * len(rivals)
    assert all(engine.audit(answer).same for answer in engine.ask("shop 0", USERS, K))
    assert len(reads) == len(USERS), "who audits reads the sealed run"


def test_version_that_came_back_holds_the_bytes_that_it_took_when_it_was_read(
    engine: Engine, rivals: list[Path]
) -> None:
    before = engine.memory().host_bytes
    for tenant in names(rivals):
        evict(engine, tenant)
        engine.reload(tenant)
    assert engine.memory().host_bytes == before


def test_version_of_which_a_file_was_touched_is_hashed_again_by_a_loader(
    engine: Engine, reads: list[tuple[str, str]]
) -> None:
    known = engine.ask("shop 0", USERS, K)
    folder = engine.store.folder / known[0].version
    path = folder / "adapter_model.safetensors"
    evict(engine, "shop 0")
    os.utime(path)
    assert engine.ask("shop 0", USERS, K) == known
    assert reads == [(folder.name, "llmrec-loader")]
    evict(engine, "shop 0")
    assert engine.ask("shop 0", USERS, K) == known
    assert len(reads) == 1, "it is known again"
    evict(engine, "shop 0")
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UnavailableError, match=r"adapter_model\.safetensors is not what the run wrote"):
        engine.ask("shop 0", USERS, K)
    assert engine.standing("shop 0").conditions[0].tier == "failed"
    assert engine.ask("shop 1", USERS, K)[0].items


def test_error_in_making_a_version_again_is_left_to_a_loader(
    engine: Engine, reads: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = engine.ask("shop 0", USERS, K)
    evict(engine, "shop 0")

    def broken(_: Skeleton) -> None:
        raise RuntimeError("it cannot be made")

    with monkeypatch.context() as patch:
        patch.setattr(Skeleton, "tenant", broken)
        assert engine.ask("shop 0", USERS, K) == known
    assert len(reads) == 1
    memory = engine.memory()
    assert memory.failures == memory.refusals == 0
    assert memory.host_bytes == sum(one.held for one in engine._tier.residents())


def test_skeleton_that_would_answer_otherwise_is_not_kept(
    tmp_path: Path, rivals: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Skeleton.tenant

    def other(one: Skeleton) -> Any:
        tenant = made(one)
        assert tenant is not None
        for tensor in tenant.model.head_parts.state_dict().values():
            tensor.add_(1.0)
        return tenant

    monkeypatch.setattr(Skeleton, "tenant", other)
    engine = registered(Engine(tmp_path / "store", device="cpu", host_bytes=1 << 30), rivals[:1])
    assert engine.memory().skeleton_bytes == 0


def test_what_is_kept_stays_within_its_bytes_and_the_latest_stay(
    engine: Engine, rivals: list[Path], reads: list[tuple[str, str]]
) -> None:
    kept: Skeletons = engine._loading._skeletons  # type: ignore[assignment]
    one = kept.nbytes // len(rivals)
    kept._most = 2 * one + one // 2
    for tenant in (*names(rivals), *names(rivals)):
        evict(engine, tenant)
        os.utime(engine.store.folder / engine.standing(tenant).main.version / "seen.safetensors")
        engine.ask(tenant, USERS, K)
    assert 0 < kept.nbytes <= kept._most
    assert len(kept._known) == 2
    reads.clear()
    evict(engine, "shop 2")
    evict(engine, "shop 0")
    engine.ask("shop 2", USERS, K)
    assert reads == []
    engine.ask("shop 0", USERS, K)
    assert len(reads) == 1
    assert 1000 * one < skeletons.MOST_BYTES


def test_engine_without_a_bound_keeps_nothing(tmp_path: Path, rivals: list[Path]) -> None:
    engine = registered(Engine(tmp_path / "store", device="cpu"), rivals[:1])
    assert engine.memory().skeleton_bytes == 0


@pytest.mark.parametrize("loaders", [1, 2])
def test_no_answer_is_wrong_while_threads_bring_versions_back(
    tmp_path: Path, rivals: list[Path], loaders: int, reads: list[tuple[str, str]]
) -> None:
    truth, budget = Truth.of(rivals, 6), room_for_two(sizes(rivals, tmp_path / "sizes"))
    engine = Engine(tmp_path / "store", device="cpu", cache_bytes=0, host_bytes=budget, loaders=loaders)
    registered(engine, rivals)
    wrong = list[str]()

    def work(seed: int) -> None:
        for turn in range(80):
            tenant, group = f"shop {(turn + seed) % 3}", truth.groups[(turn * 7 + seed) % len(truth.groups)]
            said = truth.wrong(group, engine.ask(tenant, group, K), exactly=True)
            if said is not None:
                wrong.append(f"{tenant}: {said}")

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    reads.clear()
    with hasty():
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(300)
    assert wrong == []
    memory = engine.memory()
    assert memory.evictions >= 20
    assert memory.loads == memory.evictions + memory.ready
    assert memory.failures == memory.refusals == 0
    assert memory.hits + memory.waits == 320
    assert 0 < memory.host_bytes <= budget
    assert len(reads) < memory.loads // 2, "some wait for room, and a loader loads them"
    assert all(one.leases == 0 and not one.waiters for one in engine._tier.residents())
