"""Events in the registry: numbers without gaps, each event once, and all of a request or none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_routes import version

from llmrec_peft.serving.http.registry import registry as registry_module
from llmrec_peft.serving.http.registry.event_rows import EventsReceipt
from llmrec_peft.serving.http.registry.registry import Registry
from llmrec_peft.serving.http.schemas import EventIn
from llmrec_peft.serving.refusals import UnknownTenantError
from llmrec_peft.serving.routes import Route


@pytest.fixture
def shops(registry: Registry, state: Path) -> Registry:
    """A registry with two tenants."""
    for name in ("shop", "other"):
        registry.begin(name, Route(version(state / "store", name)))
    return registry


def event(item: str, event_id: str | None = None, **told: float) -> EventIn:
    return EventIn(user_id="u", item_id=item, event_id=event_id, **told)


def test_events_have_numbers_in_their_order_and_are_there_after_a_restart(
    shops: Registry, opened: Callable[[], Registry]
) -> None:
    assert shops.add_events("shop", [event("a", label=4.5, timestamp=7.0), event("b")]) == EventsReceipt(2, 0, 2)
    assert shops.add_events("other", [event("c")]) == EventsReceipt(1, 0, 1)
    assert shops.add_events("shop", [event("d", "id")]) == EventsReceipt(1, 0, 3)
    found = opened().events("shop")
    assert [(one.sequence, one.item_id, one.event_id) for one in found] == [
        (1, "a", None),
        (2, "b", None),
        (3, "d", "id"),
    ]
    assert (found[0].label, found[0].timestamp) == (4.5, 7.0)
    assert (found[1].label, found[1].timestamp) == (None, found[1].received), "by default, now"


def test_event_that_is_sent_twice_is_kept_once(shops: Registry) -> None:
    assert shops.add_events("shop", [event("a", "1"), event("b"), event("a", "1")]) == EventsReceipt(2, 1, 2)
    assert shops.add_events("shop", [event("a", "1"), event("b"), event("c", "2")]) == EventsReceipt(2, 1, 4)
    assert shops.add_events("other", [event("a", "1")]) == EventsReceipt(1, 0, 1), "names are a tenant's own"
    assert [one.sequence for one in shops.events("shop")] == [1, 2, 3, 4], "without a gap"


def test_events_are_read_in_parts(shops: Registry) -> None:
    shops.add_events("shop", [event(str(number)) for number in range(7)])
    assert [one.sequence for one in shops.events("shop", after=2, limit=3)] == [3, 4, 5]
    assert [one.sequence for one in shops.events("shop", after=5)] == [6, 7]
    assert shops.events("shop", after=7) == shops.events("shop", after=10**30) == []
    assert shops.events("shop", limit=-1) == []
    assert len(shops.events("shop", after=-(10**3), limit=10**30)) == 7


def test_clock_that_jumps_back_changes_no_order(shops: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for now in (2e9, 1e9, 1.5e9):
        monkeypatch.setattr(registry_module.time, "time", lambda now=now: now)
        shops.add_events("shop", [event(str(now))])
    found = shops.events("shop")
    assert [one.sequence for one in found] == [1, 2, 3]
    assert [one.received for one in found] == [2e9, 1e9, 1.5e9]


def test_unknown_tenant_has_no_events(shops: Registry) -> None:
    with pytest.raises(UnknownTenantError):
        shops.add_events("nobody", [event("a")])
    with pytest.raises(UnknownTenantError):
        shops.events("nobody")


def test_forgotten_tenant_leaves_no_events_to_one_of_the_same_name(shops: Registry, state: Path) -> None:
    shops.add_events("shop", [event("a", "1")])
    shops.add_events("other", [event("b")])
    shops.end("shop")
    shops.begin("shop", Route(version(state / "store", "new")))
    assert shops.events("shop") == []
    assert shops.add_events("shop", [event("a", "1")]) == EventsReceipt(1, 0, 1)
    assert len(shops.events("other")) == 1


def test_events_of_many_callers_have_numbers_without_gaps(shops: Registry) -> None:
    receipts, lock = list[EventsReceipt](), threading.Lock()

    def send(caller: int) -> None:
        for number in range(20):
            receipt = shops.add_events("shop", [event("a", f"{caller} {number}"), event("b", f"shared {number}")])
            with lock:
                receipts.append(receipt)

    callers = [threading.Thread(target=send, args=(caller,)) for caller in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert sum(one.stored for one in receipts) == 8 * 20 + 20
    assert sum(one.repeated for one in receipts) == 7 * 20
    found = shops.events("shop")
    assert [one.sequence for one in found] == list(range(1, 181))
    assert len({one.event_id for one in found}) == 180
