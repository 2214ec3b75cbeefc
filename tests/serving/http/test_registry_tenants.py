"""Tenants in the registry: a restart finds the same routes, states and vectors, and nothing that nobody names."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made_up_routes import same, same_route, version, with_items

from llmrec_peft.serving.http.registry import tenant_rows
from llmrec_peft.serving.http.registry.database import reading
from llmrec_peft.serving.http.registry.past_states import PastStates
from llmrec_peft.serving.http.registry.registry import FILE, Registry
from llmrec_peft.serving.refusals import UnknownTenantError
from llmrec_peft.serving.routes import Route
from llmrec_peft.serving.tenants import Past
from llmrec_peft.serving.versions import Placed

Opened = Callable[[], Registry]


def rows(state: Path, table: str) -> int:
    """How many rows a table has."""
    with reading(state / FILE, 1.0) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - a test's own text


def change(state: Path, statement: str) -> None:
    """Change the registry's file behind the server's back."""
    with sqlite3.connect(state / FILE) as connection:
        connection.executescript(statement)
    connection.close()


def past(state: Path, tenant: str, *places: Placed) -> list[Past]:
    """States of a tenant that the registry remembers among some."""
    known = PastStates(state / FILE, state / "store")
    return [found for one in places if (found := known.past(tenant, one.state.digest)) is not None]


def test_restart_finds_the_same_tenants_in_their_order(opened: Opened, state: Path) -> None:
    registry, store = opened(), state / "store"
    first, second = version(store, "a"), version(store, "b", "-no-seen-no-users")
    grown = with_items(with_items(first, ["x", "y"]), ["z"])
    routes = {
        "zebra": Route(grown, second, 0.25, version(store, "c", "-no-users")),
        "ant": Route(with_items(second, ["ü"], width=None)),
        "bee": Route(with_items(first, ["x"], 3, torch.bfloat16), former=grown),
    }
    for name, route in routes.items():
        registry.begin(name, route)
    registry.pin("ant", True)
    registry.set_queue_weight("bee", 2.5)
    found = opened().tenants()
    assert [one.name for one in found] == list(routes)
    assert [one.pinned for one in found] == [False, True, False]
    assert [one.queue_weight for one in found] == [1.0, 1.0, 2.5]
    for one in found:
        assert same_route(one.route, routes[one.name]), one.name
    assert not same_route(found[0].route, routes["bee"]), "the comparison sees differences"


def test_events_of_a_restored_state_go_on_from_it(opened: Opened, state: Path) -> None:
    registry = opened()
    before = with_items(version(state / "store", "a"), ["x"])
    registry.begin("shop", Route(before))
    (stored,) = opened().tenants()
    after = with_items(stored.route.main, ["y"])
    registry = opened()
    registry.replace("shop", Route(after))
    (stored,) = opened().tenants()
    assert same(stored.route.main, after)
    assert stored.route.main.state.number == 2


def test_tenants_with_the_same_run_and_events_share_states(registry: Registry, state: Path) -> None:
    grown = with_items(version(state / "store", "a"), ["x"])
    for name in ("one", "two", "three"):
        registry.begin(name, Route(grown))
    assert rows(state, "states") == 2, "before the item and after it"
    assert rows(state, "versions") == 1
    found = registry.tenants()
    assert found[0].route.main is found[1].route.main is found[2].route.main, "vectors are in memory once"
    registry.end("one")
    registry.end("two")
    assert rows(state, "states") == 2
    registry.end("three")
    assert rows(state, "states") == rows(state, "versions") == rows(state, "past") == 0


def test_states_that_no_route_names_keep_their_events_and_lose_their_vectors(registry: Registry, state: Path) -> None:
    store = state / "store"
    first, other, last = with_items(version(store, "a"), ["x"]), version(store, "b"), version(store, "c")
    registry.begin("shop", Route(first))
    registry.replace("shop", Route(first).followed_by(other))
    assert rows(state, "states WHERE vectors IS NOT NULL") == 1, "one can go back to it"
    registry.replace("shop", Route(other).followed_by(last))
    assert rows(state, "states WHERE vectors IS NOT NULL") == 0
    (found,) = past(state, "shop", first)
    assert found.state.digest == first.state.digest
    assert found.state.events() == first.state.events()
    registry.replace("shop", Route(last).followed_by(first))
    (stored,) = registry.tenants()
    assert same(stored.route.main, first), "its vectors are written again"


def test_vectors_that_answer_now_take_the_place_of_those_of_another_pass(registry: Registry, state: Path) -> None:
    one, other = (with_items(version(state / "store", "a"), ["x"]) for _ in range(2))
    assert one.identity == other.identity
    assert not same(one, other), "a text was encoded twice, and not alike"
    registry.begin("shop", Route(one))
    registry.replace("shop", Route(other).followed_by(version(state / "store", "b")))
    (stored,) = registry.tenants()
    assert same(stored.route.former, other)
    assert rows(state, "states WHERE number = 1") == 1


def test_number_of_past_states_is_bounded(registry: Registry, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_rows, "PAST", 3)
    places = [version(state / "store", f"{number}") for number in range(6)]
    registry.begin("shop", Route(places[0]))
    for number in range(1, 6):
        registry.replace("shop", Route(places[number - 1]).followed_by(places[number]))
    assert [one.sealed for one in past(state, "shop", *places)] == [one.sealed for one in places[3:]]
    assert rows(state, "states") == rows(state, "versions") == 3
    assert past(state, "shop", version(state / "store", "never")) == []


def test_past_states_are_those_of_the_tenant_alone(registry: Registry, state: Path) -> None:
    mine, theirs = (with_items(version(state / "store", "a"), [item]) for item in "xy")
    registry.begin("shop", Route(mine))
    registry.begin("other", Route(theirs))
    assert [one.state.digest for one in past(state, "shop", mine, theirs)] == [mine.state.digest]
    before = version(state / "store", "a")
    assert [one.state.number for one in past(state, "shop", before)] == [0], "through which its state went"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE states SET rows = replace(rows, '1995', '1996')",
        "UPDATE states SET rows = 'no JSON' WHERE rows IS NOT NULL",
        "UPDATE states SET added = replace(added, 'title of', 'another')",
        "UPDATE states SET vectors = zeroblob(length(vectors))",
        "UPDATE states SET vectors = x'00' WHERE vectors IS NOT NULL",
        "UPDATE states SET added = NULL",
        "UPDATE states SET number = number + 1 WHERE before IS NULL",
        "UPDATE states SET before = id WHERE rows IS NOT NULL",
        "UPDATE versions SET folder = '../../outside'",
        "INSERT INTO versions SELECT 2, '0' || substr(folder, 2) FROM versions;"
        " UPDATE states SET version = 2 WHERE rows IS NOT NULL",
    ],
)
def test_tenant_whose_state_was_changed_is_refused_and_others_are_there(
    damage: str, opened: Opened, state: Path
) -> None:
    registry, store = opened(), state / "store"
    registry.begin("harmed", Route(with_items(version(store, "a"), ["x"])))
    registry.add_events("harmed", [])
    route = Route(version(store, "b"))
    change(state, damage)
    registry.begin("whole", route)
    found = opened()
    assert [one.name for one in found.tenants()] == ["whole"]
    assert list(found.refused) == ["harmed"]
    assert found.refused["harmed"].isprintable()
    found.begin("harmed", route)
    assert [one.name for one in found.tenants()] == ["harmed", "whole"], "it can be registered anew"
    assert found.refused == {}


def test_unknown_tenants_cannot_be_changed(registry: Registry, state: Path) -> None:
    route = Route(version(state / "store", "a"))
    for work in (
        lambda: registry.replace("nobody", route),
        lambda: registry.pin("nobody", True),
        lambda: registry.set_queue_weight("nobody", 2.0),
    ):
        with pytest.raises(UnknownTenantError):
            work()
    registry.end("nobody")
    assert rows(state, "states") == rows(state, "tenants") == 0, "what was refused left nothing"
    assert registry.trouble() is None
