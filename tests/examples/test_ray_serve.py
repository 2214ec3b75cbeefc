"""The example of several machines: versions have places, and a replica that dies costs no event and no right answer."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from isolation import ROUNDING, Truth

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.errors import InputError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ray_serve"
sys.path.insert(0, str(EXAMPLE))

from placement import FACTOR, Ring, placed  # noqa: E402
from waiting import within  # noqa: E402

VERSIONS = [f"{number:064x}" for number in range(2_000)]


def homes(replicas: int) -> dict[str, str]:
    """The home of each version on some replicas."""
    ring = Ring(f"replica {number}" for number in range(replicas))
    return {version: ring.order(version)[0] for version in VERSIONS}


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_doubling_the_replicas_moves_about_half_of_the_versions_and_only_to_new_ones(replicas: int) -> None:
    before, after = homes(replicas), homes(2 * replicas)
    moved = [version for version in VERSIONS if before[version] != after[version]]
    assert len(moved) / len(VERSIONS) == pytest.approx(0.5, abs=0.1)
    assert {after[version] for version in moved}.isdisjoint(before.values())


def test_a_replica_that_goes_moves_its_own_versions_alone() -> None:
    before = homes(8)
    ring = Ring(sorted(set(before.values()) - {"replica 3"}))
    moved = [version for version in VERSIONS if ring.order(version)[0] != before[version]]
    assert {before[version] for version in moved} == {"replica 3"}
    assert len(moved) == sum(home == "replica 3" for home in before.values())


@pytest.mark.parametrize(("versions", "replicas"), [(2_000, 8), (7, 3), (1, 2)])
def test_no_replica_has_more_than_its_bound(versions: int, replicas: int) -> None:
    found = placed(VERSIONS[:versions], Ring(map(str, range(replicas))))
    assert max(Counter(found.values()).values()) <= -(-FACTOR * versions // replicas)


def test_a_version_stays_at_home_until_its_replica_is_busier_than_others() -> None:
    ring = Ring(["a", "b", "c", "d"])
    first, second = ring.order("hot")[:2]
    assert ring.place("hot", {}) == first
    assert ring.place("hot", dict.fromkeys("abcd", 10)) == first
    assert ring.place("hot", {first: 20}) == second


def test_one_hot_version_is_answered_by_all_replicas() -> None:
    ring, loads = Ring(["a", "b", "c", "d"]), Counter[str]()
    for _ in range(100):
        loads[ring.place("hot", loads)] += 1
    assert max(loads.values()) <= -(-FACTOR * 100 // 4)
    assert len(loads) == 4


def test_a_limit_says_what_was_waited_for_and_leaves_other_alarms_alone() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0.4)
    try:
        with pytest.raises(InputError, match=r"^waited 0\.1 s for the replicas$"), within(0.1, "the replicas"):
            time.sleep(5)
        with within(5, "nothing"):
            pass
        assert rung == []
        time.sleep(0.5)
        assert rung == [1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two replicas on a Ray of this machine."""
    pytest.importorskip("ray.serve", reason="Ray is not installed: pip install 'llmrec-peft[ray]'")
    from fleet import started

    with started(tmp_path_factory.mktemp("fleet") / "state") as found:
        yield found


@pytest.mark.trains
@pytest.mark.slow
def test_a_replica_killed_under_load_loses_no_acknowledged_event_and_gives_no_foreign_answer(
    fleet: Any, rivals: list[Path]
) -> None:
    tenants = {f"shop {at}": run for at, run in enumerate(rivals)}
    digests = {tenant: read_manifest(run).digest for tenant, run in tenants.items()}
    assert {tenant: fleet.register(tenant, run) for tenant, run in tenants.items()} == digests
    truth = Truth.of(rivals, 2)
    wrong, acknowledged, replicas, errors = list[str](), list[str](), set[str](), list[BaseException]()
    asked, done = Counter[str](), threading.Event()

    def ask(first: int) -> None:
        for number in itertools.count(first):
            if done.is_set():
                return
            tenant = f"shop {number % len(rivals)}"
            group = truth.groups[number % len(truth.groups)]
            for answer, known in zip(fleet.ask(tenant, group, 5), truth.lists[digests[tenant], group], strict=True):
                items = [(one["item_id"], one["score"]) for one in answer["items"]]
                expected = [(one.item_id, pytest.approx(one.score, abs=ROUNDING)) for one in known.items]
                if items != expected or answer["version"] != digests[tenant]:
                    wrong.append(f"{tenant}, user {answer['user_id']}: {items}")
                replicas.add(answer["replica"])
            asked[tenant] += 1

    def send() -> None:
        for number in itertools.count():
            if done.is_set():
                return
            event = {"user_id": "1", "item_id": "1", "label": 1.0, "event_id": f"e{number}"}
            fleet.keep("shop 0", [event])
            acknowledged.append(event["event_id"])

    def work(do: Any, *given: int) -> None:
        try:
            do(*given)
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)
            done.set()

    workers = [threading.Thread(target=work, args=(ask, 5 * number)) for number in range(3)]
    workers.append(threading.Thread(target=work, args=(send,)))
    for worker in workers:
        worker.start()
    kill = (lambda: fleet.answers.process.remote("any"), fleet.records.process.remote)
    for process in kill:
        reached = sum(asked.values()) + 60
        while sum(asked.values()) < reached and not done.is_set():
            time.sleep(0.05)
        os.kill(process().result(timeout_s=60), signal.SIGKILL)
    reached, events = sum(asked.values()) + 60, len(acknowledged) + 20
    while (sum(asked.values()) < reached or len(acknowledged) < events) and not done.is_set():
        time.sleep(0.05)
    done.set()
    for worker in workers:
        worker.join(60)
    assert errors == []
    assert wrong == []
    assert set(asked) == set(tenants)
    kept = fleet.records.kept.remote("shop 0").result(timeout_s=60)
    assert set(acknowledged) <= set(kept)
    assert len(kept) == len(set(kept)), "an event that was sent twice is kept once"
    assert len(replicas) >= 2
