"""An engine with its registry: a restart answers as before, and a registry that is locked holds no ask."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_routes import version, with_items
from tiered_engines import FILM, USERS

from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.http.registry.registry import FILE, Registry
from llmrec_peft.serving.refusals import UnavailableError
from llmrec_peft.serving.routes import Route

SHOP = "shop"
Opened = Callable[[], Registry]


def started(registry: Registry, state: Path) -> Engine:
    """An engine with the tenants that the registry has."""
    engine = Engine(state / "store", device="cpu", cache_bytes=0, journal=registry)
    for one in registry.tenants():
        engine.restore(one.name, one.route, one.pinned)
    return engine


def test_restart_answers_as_before(opened: Opened, state: Path, rivals: list[Path]) -> None:
    with started(opened(), state) as engine:
        engine.register(SHOP, rivals[0])
        engine.register("other", rivals[0])
        engine.add_items(SHOP, [FILM])
        engine.swap(SHOP, rivals[1])
        engine.add_items(SHOP, [{**FILM, "item_id": "newer"}])
        engine.swap(SHOP, rivals[2], share=0.5)
        engine.pin("other")
        standings = [engine.standing(name) for name in engine.tenants]
        answers = [engine.ask(name, USERS, k=60, seen=True) for name in engine.tenants]
    with started(opened(), state) as engine:
        engine.reload("other")
        assert [engine.ask(name, USERS, k=60, seen=True) for name in engine.tenants] == answers
        assert [engine.standing(name) for name in engine.tenants] == standings
        assert engine.rollback(SHOP).trial is None
        assert engine.rollback(SHOP).main.version == standings[0].former.version  # type: ignore[union-attr]
    with started(opened(), state) as engine:
        assert engine.standing(SHOP).former.version == standings[0].main.version  # type: ignore[union-attr]


def test_locked_registry_holds_no_ask_and_refuses_changes(opened: Opened, state: Path, rivals: list[Path]) -> None:
    registry = opened()
    with started(registry, state) as engine:
        engine.register(SHOP, rivals[0])
        before, answers = engine.standing(SHOP), engine.ask(SHOP, USERS)
        other = sqlite3.connect(state / FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for change in (
            lambda: engine.add_items(SHOP, [FILM]),
            lambda: engine.swap(SHOP, rivals[1]),
            lambda: engine.register("new", rivals[1]),
            lambda: engine.pin(SHOP),
            lambda: engine.unregister(SHOP),
        ):
            with pytest.raises(UnavailableError, match="another program holds it locked"):
                change()
            assert engine.standing(SHOP) == before
            assert engine.ask(SHOP, USERS) == answers
        assert engine.tenants == (SHOP,)
        other.execute("ROLLBACK")
        other.close()
        engine.add_items(SHOP, [FILM])
        assert registry.trouble() is None
    with started(opened(), state) as engine:
        assert engine.standing(SHOP).main.state == 1


def test_tenants_are_restored_without_reading_a_run(opened: Opened, state: Path) -> None:
    registry, names = opened(), [f"tenant {number}" for number in range(64)]
    for name in names:
        registry.begin(name, Route(with_items(version(state / "store", name), [f"item of {name}"])))
    with started(opened(), state) as engine:
        assert list(engine.tenants) == names, "whose runs are nowhere"
        assert engine.memory().sealed == len(names)
        assert engine.memory().loads == 0
        with pytest.raises(UnavailableError, match="its version could not be loaded: no run folder"):
            engine.ask(names[0], ["1"])
