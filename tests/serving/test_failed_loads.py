"""Failed loads: one tenant's version that cannot be loaded says why, is not tried for ever, and harms nobody else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from isolation import K
from tiered_engines import USERS, HeldLoads, evict, in_thread, registered

from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.refusals import ServingError, UnavailableError
from llmrec_peft.serving.sealed_store import SealedRun
from llmrec_peft.serving.tiers.failures import Retry


@pytest.fixture
def pair(engine: Engine, rivals: list[Path]) -> Engine:
    """Two tenants with a run each, of which failed loads are tried again after a fifth of a second, three times."""
    engine._tier.retry = Retry(first_s=0.2, most_s=0.3, attempts=3)
    return registered(engine, rivals[:2])


def cut(engine: Engine, tenant: str) -> bytes:
    """Cut a file of a tenant's sealed run; return what it was."""
    path = engine.store.folder / engine.standing(tenant).main.version / "signals.safetensors"
    content = path.read_bytes()
    path.chmod(0o600)
    os.truncate(path, len(content) // 2)
    return content


def mend(engine: Engine, tenant: str, content: bytes) -> None:
    """Undo `cut`."""
    path = engine.store.folder / engine.standing(tenant).main.version / "signals.safetensors"
    path.write_bytes(content)


def test_damaged_copy_fails_alone_and_is_tried_a_few_times_with_pauses(pair: Engine) -> None:
    known, steady = pair.ask("shop 0", USERS, K), pair.ask("shop 1", USERS, K)
    evict(pair, "shop 0")
    content = cut(pair, "shop 0")
    held = HeldLoads()
    held.go.set()
    held.of(pair)
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=r"tenant 'shop 0': its version could not be loaded: .*signals") as said:
        pair.ask("shop 0", USERS, K)
    assert said.value.retry_s is not None
    assert 0 < said.value.retry_s <= 0.2
    tries = 0
    while pair.standing("shop 0").conditions[0].failure.next_try is not None:  # type: ignore[union-attr]
        with pytest.raises(UnavailableError, match=r"could not be loaded: .*signals"):
            pair.ask("shop 0", USERS, K)
        assert pair.ask("shop 1", USERS, K) == steady
        tries += 1
    assert time.monotonic() - began >= 0.2 + 0.3, "the second pause is longer, and no longer than the bound"
    assert len(held.loads) == 3, "however often it was asked"
    assert tries > 3
    time.sleep(0.4)
    with pytest.raises(UnavailableError, match="attempt 3; it is not tried again before reload or swap") as last:
        pair.ask("shop 0", USERS, K)
    assert last.value.retry_s is None
    condition = pair.standing("shop 0").conditions[0]
    assert condition.tier == "failed"
    assert condition.failure is not None
    assert condition.failure.attempts == 3
    memory = pair.memory()
    assert (memory.failed, memory.ready, memory.failures) == (1, 1, 3)
    with pytest.raises(ServingError, match=r"tenant 'shop 0': .*signals"):
        pair.reload("shop 0")
    mend(pair, "shop 0", content)
    assert pair.reload("shop 0").conditions[0].tier == "ready"
    assert pair.ask("shop 0", USERS, K) == known
    assert pair.memory().failed == 0


def test_failed_load_is_tried_by_the_first_ask_after_the_pause(pair: Engine) -> None:
    known = pair.ask("shop 0", USERS, K)
    evict(pair, "shop 0")
    content = cut(pair, "shop 0")
    with pytest.raises(UnavailableError):
        pair.ask("shop 0", USERS, K)
    mend(pair, "shop 0", content)
    with pytest.raises(UnavailableError, match="the next attempt is in 0"):
        pair.ask("shop 0", USERS, K)
    time.sleep(0.25)
    assert pair.ask("shop 0", USERS, K) == known
    assert pair.standing("shop 0").conditions[0].failure is None


def flip(engine: Engine, tenant: str) -> None:
    """Change the last byte of a file of a tenant's sealed run."""
    path = engine.store.folder / engine.standing(tenant).main.version / "signals.safetensors"
    path.chmod(0o600)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("spoil", [cut, flip])
def test_swap_to_the_same_run_replaces_a_damaged_copy(
    pair: Engine, rivals: list[Path], spoil: Callable[[Engine, str], object]
) -> None:
    known = pair.ask("shop 0", USERS, K)
    evict(pair, "shop 0")
    spoil(pair, "shop 0")
    with pytest.raises(UnavailableError, match="signals"):
        pair.ask("shop 0", USERS, K)
    pair.swap("shop 0", rivals[0])
    assert pair.ask("shop 0", USERS, K) == known
    assert pair.store.runs() == sorted(pair.standing(name).main.version for name in ("shop 0", "shop 1"))


@pytest.mark.parametrize("error", [MemoryError("no memory"), SystemExit(1), KeyError("x")])
def test_loader_that_is_killed_fails_its_version_and_others_go_on(pair: Engine, error: BaseException) -> None:
    steady = pair.ask("shop 1", USERS, K)
    evict(pair, "shop 0")
    evict(pair, "shop 1")
    load = pair._loading.load
    bad = pair.standing("shop 0").main.version

    def dying(sealed: SealedRun, **named: Any) -> Any:
        if sealed.digest == bad:
            raise error
        return load(sealed, **named)

    pair._loading.load = dying  # type: ignore[method-assign]
    with pytest.raises(UnavailableError, match=rf"could not be loaded: {type(error).__name__}: "):
        pair.ask("shop 0", USERS, K)
    assert pair.ask("shop 1", USERS, K) == steady
    assert pair._tier._running == 0, "no thread is left behind"


def test_all_who_wait_for_a_load_that_fails_get_its_reason(pair: Engine) -> None:
    evict(pair, "shop 0")
    cut(pair, "shop 0")
    held = HeldLoads().of(pair)
    askers = [in_thread(lambda: pair.ask("shop 0", USERS, K)) for _ in range(6)]
    while pair.memory().waits < 6:
        time.sleep(0.01)
    held.go.set()
    for thread, _ in askers:
        thread.join(60)
    assert len(held.loads) == 1
    assert all(isinstance(found[0], UnavailableError) and "signals" in str(found[0]) for _, found in askers)


def test_system_without_threads_is_an_error_and_no_hang(pair: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    evict(pair, "shop 0")
    start = threading.Thread.start

    def refusing(thread: threading.Thread) -> None:
        if thread.name == "llmrec-loader":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    with pytest.raises(UnavailableError, match="can't start new thread"):
        pair.ask("shop 0", USERS, K)
    monkeypatch.undo()
    pair.reload("shop 0")
    assert pair.ask("shop 0", USERS, K)[0].items


def test_failed_registration_leaves_nothing_behind(engine: Engine, rivals: list[Path], tmp_path: Path) -> None:
    engine._loading.load = lambda sealed, **named: 1 / 0  # type: ignore[assignment, method-assign]
    with pytest.raises(ZeroDivisionError):
        engine.register("shop", rivals[0])
    assert engine.tenants == ()
    assert engine._tier.residents() == []
    assert engine.memory().host_bytes == 0
