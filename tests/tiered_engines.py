"""Engines whose versions do not all fit: their bytes, and loads that wait for a signal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.sealed_store import SealedRun

USERS = [str(number) for number in range(1, 9)]
FILM = {"item_id": "new", "title": "Brass Lanterns", "year": 1995, "genres": ["Crime"], "description": "A film."}


def names(runs: Sequence[Path]) -> list[str]:
    """One tenant for each run."""
    return [f"shop {at}" for at in range(len(runs))]


def registered(engine: Engine, runs: Sequence[Path]) -> Engine:
    """Register each run as a tenant."""
    for name, run in zip(names(runs), runs, strict=True):
        engine.register(name, run)
    return engine


def sizes(runs: Sequence[Path], folder: Path) -> list[int]:
    """Bytes of each run once it has been asked for lists and scores."""
    engine = registered(Engine(folder, device="cpu", cache_bytes=0), runs)
    found = []
    for name in names(runs):
        engine.ask(name, USERS)
        engine.score(name, ["1"], ["1"])
        found.append(engine.standing(name).conditions[0].nbytes)
    return found


def room_for_two(sizes: list[int]) -> int:
    """Return a budget that holds two of three or more versions of about the same bytes."""
    return 2 * max(sizes) + min(sizes) // 2


@dataclass
class HeldLoads:
    """Lets an engine's loads begin, and end only when `go` is set; counts them by version.

    Attributes:
        begun: Set when a load has begun.
        go: Lets loads end.
        loads: Digests of the versions whose loads began.
    """

    begun: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    loads: list[str] = field(default_factory=list)

    def of(self, engine: Engine) -> HeldLoads:
        """Hold the loads of an engine from now on."""
        load = engine._loading.load

        def held(sealed: SealedRun, **named: Any) -> Any:
            self.loads.append(sealed.digest)
            self.begun.set()
            assert self.go.wait(60)
            return load(sealed, **named)

        engine._loading.load = held  # type: ignore[method-assign]
        return self


def evict(engine: Engine, tenant: str) -> None:
    """Let the version that answers a tenant leave memory, as if there were no room."""
    tier = engine._tier
    with tier.lock:
        resident = tier.known(engine._tenants._entry(tenant).route.main.sealed)
        assert resident.evictable
        tier.evict([resident])
    tier.settle()


def in_thread(do: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Begin a thread; what it returns or raises is appended to the list."""
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(do())
        except Exception as error:  # noqa: BLE001 - looked at by the test
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, found
