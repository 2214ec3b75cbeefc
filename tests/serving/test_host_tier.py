"""HostTier by itself, with made-up versions: none is used once it was dropped, and every byte is accounted for."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.serving.refusals import NotInMemoryError
from llmrec_peft.serving.sealed_store import SealedRun
from llmrec_peft.serving.tiers import host_tier
from llmrec_peft.serving.tiers.failures import Retry
from llmrec_peft.serving.tiers.host_tier import HostTier
from llmrec_peft.serving.tiers.residents import Count, Resident
from llmrec_peft.serving.tiers.version_bytes import Bytes
from llmrec_peft.serving.versions import Placed, Snapshot, State

RUNS, FIT = 12, 4
SIZE = 100


@dataclass(eq=False)
class MadeUp:
    """A version that knows whether it was dropped."""

    sealed: SealedRun
    tenant: Any = field(default_factory=lambda: SimpleNamespace(notes=(), encodes_to_score=False))
    dropped: int = 0

    def at(self, placed: Placed) -> Snapshot:
        """Return it in a state."""
        return Snapshot(self, placed, self.tenant)  # type: ignore[arg-type]


def placed(number: int) -> Placed:
    return Placed(SealedRun(Path(f"{number}"), f"{number}", ()), State(0, f"{number}"))


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every version take the same bytes."""
    count = Count(frozenset(), Bytes(SIZE, 0))
    monkeypatch.setattr(host_tier, "Count", SimpleNamespace(of=lambda *_: count))


@pytest.mark.parametrize("loaders", [1, 3])
def test_random_uses_and_failed_loads_never_meet_a_dropped_version(loaders: int) -> None:
    made, drawn = list[MadeUp](), random.Random(1)

    def load(sealed: SealedRun, first: bool) -> Any:
        time.sleep(drawn.random() / 1000)
        if drawn.random() < 0.05:
            raise InputError("it fails")
        made.append(MadeUp(sealed))
        return made[-1]

    def drop(version: Any) -> None:
        version.dropped += 1

    tier = HostTier(load, drop, FIT * SIZE, 20.0, loaders)
    tier.retry = Retry(0.001, 0.002, 10**6)
    places = [placed(number) for number in range(RUNS)]
    with tier.lock:
        tier.name(places)
    wrong, seen = list[str](), Counter[str]()

    def use(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(250):
            one = places[min(int(draw.expovariate(0.3)), RUNS - 1)]
            try:
                with tier.leased(one) as snapshot:
                    version: Any = snapshot.version
                    if version.sealed != one.sealed or version.dropped:
                        wrong.append("another version, or one that was dropped")
                    time.sleep(draw.random() / 5000)
                    if version.dropped:
                        wrong.append("dropped while in use")
                    seen["used"] += 1
                    if tier.held > (FIT + loaders) * SIZE:
                        wrong.append(f"{tier.held} bytes")
            except NotInMemoryError as error:
                seen["refused"] += 1
                if "it fails" not in str(error):
                    wrong.append(str(error))
            except AssertionError:
                wrong.append("no version in use")

    workers = [threading.Thread(target=use, args=(seed,)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    tier.settle()
    assert wrong == []
    assert seen["used"] > 300
    assert tier.counts["evictions"] > 50
    assert tier.counts["failures"] > 0
    residents = tier.residents()
    assert all(one.leases == 0 and not one.waiters for one in residents)
    assert tier.held == sum(one.held for one in residents) == SIZE * len(tier.uses()) <= FIT * SIZE
    assert {one.dropped for one in made} <= {0, 1}
    assert sum(not one.dropped for one in made) == len(tier.uses())
    with tier.lock:
        tier.unname(places)
    tier.settle()
    assert tier.residents() == []
    assert tier.held == 0
    assert all(one.dropped == 1 for one in made)


def test_mutation_that_ignores_uses_is_found_by_the_random_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Resident, "evictable", property(lambda one: one.version is not None))
    with pytest.raises(AssertionError):
        test_random_uses_and_failed_loads_never_meet_a_dropped_version(1)


def test_version_that_waits_for_room_does_not_hold_up_one_that_has_room() -> None:
    tier = HostTier(lambda sealed, first: MadeUp(sealed), lambda version: None, 2 * SIZE, 0.3)  # type: ignore[arg-type]
    large, small, busy = placed(0), placed(1), placed(2)
    with tier.lock:
        tier.name([large, small, busy])
        tier.known(large.sealed).nbytes = 2 * SIZE
        tier.known(small.sealed).nbytes = SIZE
    errors = list[NotInMemoryError]()

    def wait() -> None:
        try:
            with tier.leased(large):
                pass
        except NotInMemoryError as error:
            errors.append(error)

    with tier.leased(busy):
        waiter = threading.Thread(target=wait)
        waiter.start()
        while tier.counts["waits"] < 2:
            time.sleep(0.001)
        with tier.leased(small) as snapshot:
            assert snapshot.version.sealed == small.sealed
        waiter.join(60)
    assert (
        "no room in memory: it takes 200 bytes, and of the 200 for all versions 0 are pinned and 100 are in use"
        in str(errors[0])
    )
