"""Rows of events: what happened at a tenant's, in the order in which it was taken in."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmrec_peft.serving.http.registry.tenant_rows import tenant_id
from llmrec_peft.serving.http.schemas import EventIn

MOST = 2**63 - 1
"""Largest number that SQLite has."""


class EventsReceipt(NamedTuple):
    """What became of events.

    Attributes:
        stored: Events that are on the disk now.
        repeated: Events that were left out, because one of the same `event_id` was there before.
        last: Sequence number of the tenant's last event; 0 if there is none.
    """

    stored: int
    repeated: int
    last: int


@dataclass(frozen=True)
class StoredEvent:
    """An event as the registry has it.

    Attributes:
        sequence: Its number among the tenant's events: 1, 2, 3 and so on, without gaps.
        user_id: Who.
        item_id: What.
        label: Stars, 1 for a click, 0 for a list that was left; None if it was not said.
        timestamp: When it happened, in seconds since 1970; when it was received, if it was not said.
        event_id: The sender's name of it; None if it has none.
        received: When it was received, in seconds since 1970.
    """

    sequence: int
    user_id: str
    item_id: str
    label: float | None
    timestamp: float
    event_id: str | None
    received: float


def add(connection: sqlite3.Connection, name: str, events: Sequence[EventIn], received: float) -> EventsReceipt:
    """Write a tenant's events; one with an `event_id` that is there already is left out.

    Args:
        connection: Connection inside a transaction.
        name: The tenant.
        events: The events, in their order.
        received: When they were received, in seconds since 1970.

    Raises:
        UnknownTenantError: If no tenant has the name.
    """
    tenant = tenant_id(connection, name)
    numbers = "SELECT coalesce(max(sequence), 0) FROM events WHERE tenant = ?"
    (first,) = connection.execute(numbers, (tenant,)).fetchone()
    last = first
    for one in events:
        last += connection.execute(
            "INSERT INTO events (tenant, sequence, event_id, user_id, item_id, label, timestamp, received)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, event_id) WHERE event_id IS NOT NULL DO NOTHING",
            (
                tenant,
                last + 1,
                one.event_id,
                one.user_id,
                one.item_id,
                one.label,
                received if one.timestamp is None else one.timestamp,
                received,
            ),
        ).rowcount
    return EventsReceipt(last - first, len(events) - (last - first), last)


def read(connection: sqlite3.Connection, name: str, after: int, limit: int) -> list[StoredEvent]:
    """Return a tenant's events by their numbers.

    Args:
        connection: Connection inside a transaction.
        name: The tenant.
        after: Number after which they begin.
        limit: How many, at most; below 0 is 0.

    Raises:
        UnknownTenantError: If no tenant has the name.
    """
    rows = connection.execute(
        "SELECT sequence, user_id, item_id, label, timestamp, event_id, received FROM events"
        " WHERE tenant = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        (tenant_id(connection, name), min(after, MOST), min(max(limit, 0), MOST)),
    )
    return [StoredEvent(*row) for row in rows]
