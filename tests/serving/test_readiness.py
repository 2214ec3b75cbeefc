"""Readiness: whether what answers can answer now, lists that are kept, and asks that do not wait for a load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from isolation import K
from tiered_engines import USERS, HeldLoads, evict, in_thread, registered

from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.refusals import UnavailableError, UnknownTenantError
from llmrec_peft.serving.routes import place_of


def test_readiness_names_versions_that_are_not_in_memory_and_loads_none(engine: Engine, rivals: list[Path]) -> None:
    registered(engine, rivals[:1])
    assert not engine.readiness("shop 0").absent
    evict(engine, "shop 0")
    assert engine.readiness("shop 0", ["1"]).absent == {engine.standing("shop 0").main.version}
    assert engine.memory().loads == 1
    with pytest.raises(UnknownTenantError):
        engine.readiness("other")


def test_readiness_is_that_of_the_versions_that_answer_these_users(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    trial = engine.swap("shop", rivals[1], share=0.3).trial
    assert trial is not None
    users = [str(number) for number in range(1, 201)]  # enough that both versions have some, whatever their digests are
    mine = [user for user in users if place_of(trial.version, user) >= 0.3]
    theirs = [user for user in users if user not in mine]
    assert mine
    assert theirs
    with engine._tier.lock:
        engine._tier.evict([one for one in engine._tier.residents() if one.sealed.digest == trial.version])
    assert not engine.readiness("shop", mine).absent
    assert not engine.readiness("shop", []).absent, "nobody asks"
    assert engine.readiness("shop", theirs).absent == engine.readiness("shop").absent == {trial.version}
    with engine.in_use("shop"):
        assert not engine.readiness("shop").absent


def test_version_that_reads_a_text_for_each_score_is_known(engine: Engine, task_runs: Callable[[str], Path]) -> None:
    engine.register("prompts", task_runs("prompt"))
    engine.register("clicks", task_runs("click"))
    assert engine.readiness("prompts").encodes
    assert not engine.readiness("clicks").encodes
    evict(engine, "prompts")
    assert engine.readiness("prompts").encodes, "known while it is on the disk"


def test_ask_that_does_not_wait_leaves_the_load_under_way(engine: Engine, rivals: list[Path]) -> None:
    registered(engine, rivals[:1])
    known = engine.ask("shop 0", USERS, K)
    evict(engine, "shop 0")
    held = HeldLoads().of(engine)
    for do in (
        lambda: engine.ask("shop 0", USERS, K, wait_s=0.0),
        lambda: engine.score("shop 0", ["1"], ["1"], wait_s=0.0),
        lambda: engine.explain("shop 0", "1", "1", wait_s=0.0),
    ):
        with pytest.raises(UnavailableError) as said:
            do()
        assert said.value.late
    memory = engine.memory()
    assert (memory.waits, memory.refusals) == (0, 0), "nobody waited"
    with pytest.raises(UnavailableError) as late, engine.in_use("shop 0", wait_s=0.05):
        pass
    assert late.value.late
    waiter, found = in_thread(lambda: engine.ask("shop 0", USERS, K))
    held.go.set()
    waiter.join(60)
    assert found == [known]
    assert len(held.loads) == 1, "all of them wanted one load"
    assert engine.ask("shop 0", USERS, K, wait_s=0.0) == known


def test_ask_that_does_not_wait_makes_a_version_again_of_its_skeleton(tmp_path: Path, rivals: list[Path]) -> None:
    with Engine(tmp_path / "store", device="cpu", cache_bytes=0, host_bytes=1 << 30) as engine:
        registered(engine, rivals[:1])
        while not engine._skeletons.nbytes:  # a folder that was written just now leaves none
            engine._loading.load(engine._tenants.route("shop 0").main.sealed)
        known = engine.ask("shop 0", USERS, K)
        evict(engine, "shop 0")
        assert engine.ask("shop 0", USERS, K, wait_s=0.0) == known


def test_failed_load_is_said_at_once_and_is_not_late(engine: Engine, rivals: list[Path]) -> None:
    registered(engine, rivals[:1])
    evict(engine, "shop 0")

    def broken(*_: object, **__: object) -> None:
        raise OSError("the disk is gone")

    engine._loading.load = broken  # type: ignore[assignment, method-assign]
    with pytest.raises(UnavailableError, match="the disk is gone"):
        engine.ask("shop 0", USERS, K)
    with pytest.raises(UnavailableError) as said:
        engine.ask("shop 0", USERS, K, wait_s=0.0)
    assert not said.value.late
    assert said.value.retry_s is not None


def test_kept_lists_are_found_without_the_version(tmp_path: Path, rivals: list[Path]) -> None:
    with Engine(tmp_path / "store", device="cpu") as engine:
        registered(engine, rivals[:1])
        assert engine.kept("shop 0", USERS, K) is None
        known = engine.ask("shop 0", USERS, K)
        evict(engine, "shop 0")
        assert engine.kept("shop 0", USERS, K) == known
        assert engine.kept("shop 0", [*USERS, "30"], K) is None
        assert engine.kept("shop 0", USERS, K, seen=True) is None
        assert engine.readiness("shop 0").absent
        figures = engine.cached()
        assert (figures.hits, figures.misses, figures.lists) == (len(USERS), len(USERS), len(USERS))
        with pytest.raises(UnknownTenantError):
            engine.kept("other", USERS, K)
