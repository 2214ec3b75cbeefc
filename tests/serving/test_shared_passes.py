"""SharedPasses: texts of many versions share passes; each has the vector of its own run, each error its own caller."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from llmrec_peft.errors import InputError
from llmrec_peft.serving import shared_passes
from llmrec_peft.serving.encoding import OwnPasses
from llmrec_peft.serving.loading import Loading
from llmrec_peft.serving.mixing import mixed_encoder
from llmrec_peft.serving.sealed_store import SealedStore
from llmrec_peft.serving.shared_passes import SharedPasses
from llmrec_peft.serving.versions import Version

pytestmark = pytest.mark.trains
CPU = torch.device("cpu")
RATE = {"training.adapter.learning_rate": 0.02}
CHANGES: tuple[dict[str, Any], ...] = (
    {"adapter.method": "lora", "adapter.rank": 4, **RATE},
    {"adapter.method": "bottleneck", **RATE},
    {"adapter.method": "vera", "adapter.rank": 16, **RATE},
    {"adapter.method": "prompt", "adapter.num_virtual_tokens": 3, **RATE},
    {"adapter.method": "full", "training.adapter.learning_rate": 0.002},
)
"""Runs of five methods on one base; texts of the last are encoded in passes of their own."""
TEXTS = [
    "A short one.",
    "The probe sent pictures of a distant moon, and nobody on the ground believed them.",
    "Fry the onions until they are golden.",
    "A short one.",
]


@pytest.fixture(scope="module")
def runs(quick_run: Callable[..., Path]) -> list[Path]:
    return [quick_run("movies", change) for change in CHANGES]


@pytest.fixture
def versions(runs: list[Path], tmp_path: Path) -> list[Version]:
    """The runs in memory on one base."""
    return opened(tmp_path, runs)


@pytest.fixture
def shared() -> Iterator[SharedPasses]:
    one = SharedPasses(wait=0.2)
    yield one
    one.close()


def opened(folder: Path, runs: Sequence[Path]) -> list[Version]:
    store, loading = SealedStore(folder / "store"), Loading(CPU)
    return [loading.load(store.add(run)) for run in runs]


def at_once(shared: SharedPasses, versions: Sequence[Version], texts: Sequence[str] = TEXTS) -> list[Any]:
    """Ask for texts of all versions in the same moment, each from a thread; errors are returned."""
    barrier = threading.Barrier(len(versions))

    def ask(version: Version) -> Any:
        barrier.wait(60)
        try:
            return shared.items(version, texts)
        except InputError as error:
            return error

    with ThreadPoolExecutor(len(versions)) as pool:
        return list(pool.map(ask, versions))


def far(one: Tensor, other: Tensor) -> float:
    assert one.isfinite().all()
    assert other.isfinite().all()
    return float((one - other).abs().max())


def test_texts_of_versions_that_ask_at_once_have_the_vectors_of_their_own_runs(
    shared: SharedPasses, versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    run = mixed_encoder.mixed_states

    def counted(*given: Any) -> Tensor:
        passes.append(len(set(given[4])))
        return run(*given)

    monkeypatch.setattr(mixed_encoder, "mixed_states", counted)
    own = [OwnPasses().items(version, TEXTS) for version in versions]
    for found, expected in zip(at_once(shared, versions), own, strict=True):
        assert far(found[0], expected[0]) <= 1e-5
        assert found[1] == expected[1] == 0
    assert max(passes) == 4, "four of the five share a pass"
    assert all(far(own[0][0], other[0]) > 1e-3 for other in own[1:]), "the runs answer differently"
    assert [shared.notes(version) for version in versions[:4]] == [()] * 4
    assert "encoded in passes of their own: " in shared.notes(versions[4])[0]


def test_slots_off_by_one_change_every_vector(
    shared: SharedPasses, versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = mixed_encoder.mixed_states

    def off_by_one(backbone: Any, slots: Any, ids: Tensor, mask: Tensor, seats: Sequence[Any]) -> Tensor:
        held = list(dict.fromkeys(seats))
        return run(backbone, slots, ids, mask, [held[(held.index(seat) + 1) % len(held)] for seat in seats])

    monkeypatch.setattr(mixed_encoder, "mixed_states", off_by_one)
    own = [OwnPasses().items(version, TEXTS)[0] for version in versions[:4]]
    for found, expected in zip(at_once(shared, versions[:4]), own, strict=True):
        assert float((found[0] - expected).abs().amax(1).min()) > 1e-3


def test_cut_and_repeated_texts_are_counted_for_their_own_caller(shared: SharedPasses, versions: list[Version]) -> None:
    long = "a word and then another " * 200
    texts = [long, TEXTS[0], long, *(f"text {number}" for number in range(150))]
    vectors, cut = shared.items(versions[0], texts)
    expected, known = OwnPasses().items(versions[0], texts)
    assert cut == known == 2
    assert far(vectors, expected) <= 1e-5


def test_an_error_of_one_version_or_text_reaches_its_caller_alone(
    shared: SharedPasses, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora, broken, prompt, infinite = opened(tmp_path, [runs[0], runs[1], runs[3], runs[2]])
    weights = broken.sealed.folder / "adapter_model.safetensors"
    weights.chmod(0o600)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(shared_passes, "token_room", lambda model: 12)
    run = mixed_encoder.mixed_states

    def infinities(backbone: Any, slots: Any, ids: Tensor, mask: Tensor, seats: Sequence[Any]) -> Tensor:
        states, seated = run(backbone, slots, ids, mask, seats), shared._work.seats
        assert seated is not None
        own = torch.tensor([infinite in seated._held and seat == seated._held[infinite].seat for seat in seats])
        return states.masked_fill(own[:, None, None], float("inf"))

    monkeypatch.setattr(mixed_encoder, "mixed_states", infinities)
    texts = [TEXTS[0], TEXTS[1]]  # the second one and three virtual tokens are more than 12
    good, *bad = at_once(shared, [lora, broken, prompt, infinite], texts)
    assert far(good[0], OwnPasses().items(lora, texts)[0]) <= 1e-5
    for error, message in zip(bad, ("not what the run wrote", "more than the model's window", "finite"), strict=True):
        assert isinstance(error, InputError)
        assert message in str(error)
    assert far(shared.items(prompt, TEXTS[:1])[0], OwnPasses().items(prompt, TEXTS[:1])[0]) <= 1e-5


def test_a_failing_pass_is_repeated_call_by_call(
    shared: SharedPasses, versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = mixed_encoder.mixed_states
    spoiled: list[Any] = []

    def failing(backbone: Any, slots: Any, ids: Tensor, mask: Tensor, seats: Sequence[Any]) -> Tensor:
        spoiled[:] = spoiled or seats[:1]
        if spoiled[0] in seats:
            raise ValueError("this adapter's rows cannot be computed")
        return run(backbone, slots, ids, mask, seats)

    monkeypatch.setattr(mixed_encoder, "mixed_states", failing)
    barrier = threading.Barrier(3)

    def ask(version: Version) -> Any:
        barrier.wait(60)
        try:
            return shared.items(version, TEXTS)
        except ValueError as error:
            return error

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(ask, versions[:3]))
    assert sum(isinstance(one, ValueError) for one in found) == 1
    for one, version in zip(found, versions, strict=False):
        if not isinstance(one, ValueError):
            assert far(one[0], OwnPasses().items(version, TEXTS)[0]) <= 1e-5


def test_one_text_does_not_wait_for_the_many_of_another_version(
    versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SharedPasses(tokens=64)
    begun, asked, run = threading.Event(), threading.Event(), mixed_encoder.mixed_states

    def gated(*given: Any) -> Tensor:
        begun.set()
        assert asked.wait(60)
        return run(*given)

    monkeypatch.setattr(mixed_encoder, "mixed_states", gated)
    with ThreadPoolExecutor(2) as pool:
        many = pool.submit(shared.items, versions[0], [f"text number {number}" for number in range(500)])
        assert begun.wait(60)
        one = pool.submit(shared.items, versions[1], TEXTS[:1])
        while not shared._work.lines.waiting(versions[1]):
            begun.wait(0.01)
        asked.set()
        assert len(one.result(60)[0]) == 1
        assert not many.done(), "hundreds of texts of the other version wait"
        assert len(many.result(60)[0]) == 500
    shared.close()


def test_seats_are_given_up_by_those_that_were_not_used_for_longest(versions: list[Version]) -> None:
    shared = SharedPasses(adapter_bytes=7 << 20)
    assert all(version.tenant.adapter.checked for version in versions), "loaded by their methods when they were tried"
    own = [OwnPasses().items(version, TEXTS)[0] for version in versions[:4]]
    seated = []
    for at in (0, 2, 0, 1, 2, 3, 0, 1, 2, 3):
        assert far(shared.items(versions[at], TEXTS)[0], own[at]) <= 1e-5
        assert shared._work.seats is not None
        assert shared._work.mixed.slots.slabs.used <= 7 << 20
        seated.append([versions.index(one) for one in shared._work.seats._held])
    assert seated[:3] == [[0], [0, 2], [2, 0]]
    assert seated[3] == [0, 1], "the third one was not used for longest"
    assert all(shared.notes(version) == () for version in versions[:4])
    found = at_once(shared, versions[:4])
    assert all(far(one[0], expected) <= 1e-5 for one, expected in zip(found, own, strict=True)), "in turns"
    shared.close()


@pytest.mark.parametrize("host_bytes", [0, 2 << 20, 64 << 20], ids=["from files", "some from copies", "from copies"])
def test_no_text_gets_the_vector_of_another_version_while_seats_change_hands(
    versions: list[Version], host_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four threads ask for few texts of any version, where the memory holds about two of five adapters."""
    texts = [f"text number {number} of some length {'more ' * (number % 7)}" for number in range(24)]
    own = [OwnPasses().items(version, texts)[0] for version in versions]
    apart = [float((own[0] - other).abs().amax(1).min()) for other in own[1:]]
    assert min(apart) > 1e-4, "each text tells the versions apart"
    shared = SharedPasses(adapter_bytes=7 << 20, tokens=256, adapter_host_bytes=host_bytes)
    together, run = [0, 0], mixed_encoder.mixed_states

    def counted(*given: Any) -> Tensor:
        together[0] += 1
        together[1] += len(set(given[4])) > 1
        return run(*given)

    monkeypatch.setattr(mixed_encoder, "mixed_states", counted)

    def ask(seed: int) -> float:
        draw, worst = np.random.default_rng(seed), 0.0
        for _ in range(60):
            at, some = int(draw.integers(len(versions))), draw.integers(0, len(texts), 3).tolist()
            found, _ = shared.items(versions[at], [texts[one] for one in some])
            worst = max(worst, far(found, own[at][some]))
        return worst

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(ask, range(4))) <= 1e-5
    assert shared._work.mixed is not None
    assert shared._work.mixed.slots._serial > 50, "adapters came back again and again"
    memory = shared.adapter_memory()
    assert memory.host_budget == host_bytes
    assert memory.host_used <= host_bytes
    assert bool(memory.host_used) == bool(host_bytes)
    assert together[1] > 10, "versions shared passes"
    shared.close()


def test_an_adapter_that_is_larger_than_the_budget_is_grouped_and_this_is_said(versions: list[Version]) -> None:
    shared = SharedPasses(adapter_bytes=2 << 20)
    for version in (versions[3], versions[2]):
        assert far(shared.items(version, TEXTS)[0], OwnPasses().items(version, TEXTS)[0]) <= 1e-5
    assert shared.notes(versions[3]) == ()
    assert "its adapter is larger than the 2,097,152 bytes for adapters" in shared.notes(versions[2])[0]
    assert versions[3] in shared._work.seats._held, "nobody left memory for it"
    shared.close()


def test_a_dropped_version_frees_its_seat_without_waiting(shared: SharedPasses, versions: list[Version]) -> None:
    shared.items(versions[0], TEXTS)
    shared.items(versions[2], TEXTS)
    slots = shared._work.mixed.slots
    assert len(slots) == 2
    shared.drop(versions[2])
    shared.drop(versions[1])  # which never had one
    while len(slots) > 1:
        threading.Event().wait(0.01)
    assert versions[2] not in shared._work.seats._held
    shared.drop(versions[0])
    while len(slots):
        threading.Event().wait(0.01)
    assert slots.slabs.used == 0


def test_closing_ends_the_thread_and_those_who_wait(versions: list[Version], monkeypatch: pytest.MonkeyPatch) -> None:
    shared = SharedPasses()
    begun, asked, run = threading.Event(), threading.Event(), mixed_encoder.mixed_states

    def gated(*given: Any) -> Tensor:
        begun.set()
        assert asked.wait(60)
        return run(*given)

    monkeypatch.setattr(mixed_encoder, "mixed_states", gated)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(shared.items, versions[0], TEXTS)
        assert begun.wait(60)
        second = pool.submit(shared.items, versions[1], TEXTS)
        while not shared._work.lines.waiting(versions[1]):
            begun.wait(0.01)
        closing = pool.submit(shared.close)
        while not shared._work.stopped:
            begun.wait(0.01)
        asked.set()
        closing.result(60)
        assert len(first.result(60)[0]) == len(TEXTS), "what was in a pass is answered"
        with pytest.raises(InputError, match="the engine is closed"):
            second.result(60)
    with pytest.raises(InputError, match="the engine is closed"):
        shared.items(versions[0], TEXTS)
    assert not any(thread.name == "llmrec-passes" and thread is shared._thread for thread in threading.enumerate())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_an_error_and_no_wait(
    shared: SharedPasses, versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any) -> Any:
        raise SystemExit(3)

    monkeypatch.setattr(mixed_encoder, "mixed_states", dying)
    for _ in range(2):
        with pytest.raises(InputError, match="the thread that encodes texts has ended: SystemExit: 3"):
            shared.items(versions[0], TEXTS)
