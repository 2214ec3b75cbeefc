"""Isolation: an ask ends on the version that it began with, and what happens to run folders changes no answer."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from isolation import SHOP, K, Truth, hasty, swapped_while_asked

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.serving import computing
from llmrec_peft.serving import engine as engine_module
from llmrec_peft.serving.answers import Answer
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.refusals import RefusedVersionError

FILM = {"item_id": "new", "title": "Brass Lanterns", "year": 1995, "genres": ["Crime"], "description": "A film."}


@pytest.fixture(scope="session")
def truth(rivals: list[Path]) -> Truth:
    """What the rivals answer alone, for groups of six users."""
    return Truth.of(rivals, 6)


def test_no_answer_is_wrong_while_the_tenants_run_is_swapped(engine: Engine, rivals: list[Path], truth: Truth) -> None:
    counts = swapped_while_asked(engine, rivals, truth, asks=3000, swaps=60)
    assert counts.wrong == []
    assert counts.asks >= 3000
    assert counts.swaps == 60
    assert counts.loads > 4, "more than are in memory at the end"
    assert counts.drops == counts.loads - 3, "and all others have left it"
    assert len(counts.versions) == len(rivals), "all runs answered"
    assert sum(engine.in_memory.values()) == 3, "the two that answer, and the one to go back to"


def test_no_answer_is_wrong_with_kept_lists(tmp_path: Path, rivals: list[Path], truth: Truth) -> None:
    engine = Engine(tmp_path / "store", device="cpu", cache_bytes=200_000)
    counts = swapped_while_asked(engine, rivals, truth, asks=2000, swaps=30, exactly=False)
    assert counts.wrong == []
    assert len(counts.versions) == len(rivals)
    assert 0 < engine._cache.nbytes <= 200_000


class ResolvesPerUser(Engine):
    """A mutation: the tenant's name is looked up anew for each user of an ask."""

    def ask(self, tenant: str, users: Sequence[str], k: int = 10, seen: bool = False) -> list[Answer]:
        return [answer for user in users for answer in super(ResolvesPerUser, self).ask(tenant, [user], k, seen)]


def test_stress_finds_a_name_that_is_looked_up_for_each_user(tmp_path: Path, rivals: list[Path], truth: Truth) -> None:
    engine = ResolvesPerUser(tmp_path / "store", device="cpu", cache_bytes=0)
    counts = swapped_while_asked(engine, rivals, truth, asks=10**9, swaps=2000, exactly=False)
    assert any("answered by 2 versions" in wrong for wrong in counts.wrong)


def test_stress_finds_lists_that_are_kept_by_name(
    tmp_path: Path, rivals: list[Path], truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "key_of", lambda identity, user, k, seen: (SHOP, user, k, seen))
    engine = Engine(tmp_path / "store", device="cpu")
    counts = swapped_while_asked(engine, rivals, truth, asks=10**9, swaps=2000, exactly=False)
    assert counts.wrong


def swap_twice(engine: Engine, rivals: list[Path]) -> None:
    """Put the version that answered out of every route."""
    engine.swap(SHOP, rivals[1])
    engine.swap(SHOP, rivals[2])


CHANGES: dict[str, Callable[[Engine, list[Path]], object]] = {
    "swapped twice": swap_twice,
    "unregistered": lambda engine, _: engine.unregister(SHOP),
    "given an item": lambda engine, _: engine.add_items(SHOP, [FILM]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_hand_over_between_looking_up_and_computing(
    change: str, engine: Engine, rivals: list[Path], truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.register(SHOP, rivals[0])
    began, before = read_manifest(rivals[0]).digest, engine.standing(SHOP).main
    looked_up, changed, found = threading.Event(), threading.Event(), list[Answer]()
    compute = computing.lists

    def waiting(*given: Any) -> Any:
        looked_up.set()
        assert changed.wait(60)
        return compute(*given)

    monkeypatch.setattr(computing, "lists", waiting)
    asker = threading.Thread(target=lambda: found.extend(engine.ask(SHOP, truth.groups[0], K)))
    asker.start()
    assert looked_up.wait(60)
    CHANGES[change](engine, rivals)
    assert engine.in_memory[began] >= 1, "what an ask uses stays"
    changed.set()
    asker.join(60)
    assert {answer.identity for answer in found} == {before}
    assert truth.wrong(truth.groups[0], found, exactly=True) is None
    if change != "given an item":
        assert began not in engine.in_memory, "and goes when the ask has ended"


def test_dropping_a_version_waits_for_no_text_that_is_being_encoded(engine: Engine, rivals: list[Path]) -> None:
    engine.register(SHOP, rivals[0])
    engine.register("guest", rivals[1])
    with engine._tenants.leased("guest") as route:
        guest = route.main.tenant
    with engine._tenants.leased(SHOP) as route:
        own = route.main.tenant
    with guest.base.inside(guest.adapter):
        assert guest.adapter._tree is not None
    inside, leave = threading.Event(), threading.Event()

    def encode() -> None:
        with own.base.inside(own.adapter):
            inside.set()
            assert leave.wait(60)

    encoding = threading.Thread(target=encode)
    encoding.start()
    assert inside.wait(60)
    dropping = threading.Thread(target=engine.unregister, args=("guest",))
    dropping.start()
    dropping.join(20)
    assert not dropping.is_alive(), "it did not wait"
    assert guest.adapter._tree is not None
    leave.set()
    encoding.join(60)
    assert guest.adapter._tree is None, "whoever encoded took it out"


def overwrite(run: Path) -> None:
    """Fill every file with something else of the same length, in place."""
    for path in run.iterdir():
        if path.is_file():
            with path.open("r+b") as file:
                file.write(b"\xff" * path.stat().st_size)


def truncate(run: Path) -> None:
    """Cut every file."""
    for path in run.iterdir():
        if path.is_file():
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size // 2)


@pytest.mark.parametrize("spoil", [overwrite, truncate, shutil.rmtree])
def test_what_happens_to_a_registered_folder_changes_no_answer(
    spoil: Callable[[Path], object], tmp_path: Path, rivals: list[Path], truth: Truth
) -> None:
    engine = Engine(tmp_path / "store", device="cpu", cache_bytes=0, try_adapters=False)  # adapters are read later
    runs = [Path(shutil.copytree(run, tmp_path / f"run-{at}")) for at, run in enumerate(rivals[:2])]
    tenants = ("first", "second")
    for tenant, run in zip(tenants, runs, strict=True):
        engine.register(tenant, run)
    before = {(tenant, group): engine.ask(tenant, group, K) for tenant in tenants for group in truth.groups}
    stop, wrong, asked = threading.Event(), list[str](), [0]

    def ask() -> None:
        while not stop.is_set():
            for (tenant, group), known in before.items():
                asked[0] += 1
                if engine.ask(tenant, group, K) != known:
                    wrong.append(tenant)

    with hasty():
        asking = threading.Thread(target=ask)
        asking.start()
        spoil(runs[0])
        while asked[0] < 200:
            stop.wait(0.01)
        stop.set()
        asking.join(60)
    assert wrong == []
    with pytest.raises(RefusedVersionError, match="tenant 'second': "):
        engine.swap("second", runs[0])
    assert all(engine.ask(tenant, group, K) == known for (tenant, group), known in before.items())
    assert engine.audit(before["first", truth.groups[0]][0]).same
    engine.add_items("first", [FILM])  # its adapter is read now, from the store
    untouched = Engine(tmp_path / "again", device="cpu")
    untouched.register("first", rivals[0])
    untouched.add_items("first", [FILM])
    scores = [one.score("first", ["1"], ["new"]) for one in (engine, untouched)]
    assert scores[0].values.tolist() == scores[1].values.tolist()
    assert scores[0].identities == scores[1].identities
