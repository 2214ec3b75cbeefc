"""Rows of tenants: which versions answer whom, and in which states they were before."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http.registry.state_rows import States, release, write_state
from llmrec_peft.serving.refusals import UnknownTenantError
from llmrec_peft.serving.routes import Route
from llmrec_peft.serving.tenants import PAST, Past


@dataclass(frozen=True)
class StoredTenant:
    """A tenant as the registry has it.

    Attributes:
        name: The tenant's name.
        route: Versions that answer; none of them is loaded.
        pinned: Whether they stay in memory.
        queue_weight: The tenant's part of the machine beside others' 1.
    """

    name: str
    route: Route
    pinned: bool
    queue_weight: float


def tenant_id(connection: sqlite3.Connection, name: str) -> int:
    """Return the id of a tenant's row.

    Raises:
        UnknownTenantError: If no tenant has the name.
    """
    row = connection.execute("SELECT id FROM tenants WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise UnknownTenantError(name)
    return int(row[0])


def begin(connection: sqlite3.Connection, name: str, route: Route, now: float) -> None:
    """Write a new tenant; one of which the versions could not be made again begins anew, with its keys and events."""
    connection.execute(
        "INSERT INTO tenants (name, main, created) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET pinned = 0",
        (name, write_state(connection, route.main), now),
    )
    replace(connection, name, route)


def replace(connection: sqlite3.Connection, name: str, route: Route) -> None:
    """Write another route of a tenant, and remember the states that it names.

    Raises:
        UnknownTenantError: If no tenant has the name.
    """
    tenant = tenant_id(connection, name)
    former = connection.execute("SELECT main, trial, former FROM tenants WHERE id = ?", (tenant,)).fetchone()
    places = [None if one is None else write_state(connection, one) for one in (route.main, route.trial, route.former)]
    connection.execute(
        "UPDATE tenants SET main = ?, trial = ?, former = ?, share = ? WHERE id = ?", (*places, route.share, tenant)
    )
    forgotten = _note(connection, tenant, [one for one in places if one is not None])
    release(connection, [one for one in (*former, *forgotten) if one is not None])


def pin(connection: sqlite3.Connection, name: str, pinned: bool) -> None:
    """Write whether a tenant's versions stay in memory.

    Raises:
        UnknownTenantError: If no tenant has the name.
    """
    connection.execute("UPDATE tenants SET pinned = ? WHERE id = ?", (pinned, tenant_id(connection, name)))


def weigh(connection: sqlite3.Connection, name: str, weight: float) -> None:
    """Write a tenant's part of the machine.

    Raises:
        UnknownTenantError: If no tenant has the name.
    """
    connection.execute("UPDATE tenants SET queue_weight = ? WHERE id = ?", (weight, tenant_id(connection, name)))


def end(connection: sqlite3.Connection, name: str) -> None:
    """Forget a tenant, its keys and events, and the states that no other tenant has; nothing if nobody has the name."""
    row = connection.execute("SELECT id, main, trial, former FROM tenants WHERE name = ?", (name,)).fetchone()
    if row is None:
        return
    tenant, *places = row
    past = [one for (one,) in connection.execute("SELECT state FROM past WHERE tenant = ?", (tenant,))]
    connection.execute("DELETE FROM keys WHERE tenant = ?", (name,))
    connection.execute("DELETE FROM tenants WHERE id = ?", (tenant,))
    release(connection, [one for one in (*places, *past) if one is not None])


def read_tenants(connection: sqlite3.Connection, store: Path) -> tuple[list[StoredTenant], dict[str, str]]:
    """Make the tenants' routes again; no run is loaded.

    Args:
        connection: Connection inside a transaction.
        store: Folder of the sealed store.

    Returns:
        The tenants in the order in which they were registered, and those whose route cannot be made, with the reason.
    """
    found, refused = [], dict[str, str]()
    states = States(connection, store)
    rows = connection.execute(
        "SELECT name, main, trial, former, share, pinned, queue_weight FROM tenants ORDER BY id"
    ).fetchall()
    for name, main, trial, former, share, pinned, weight in rows:
        try:
            route = Route(
                states.placed(main),
                None if trial is None else states.placed(trial),
                share,
                None if former is None else states.placed(former),
            )
        except InputError as error:
            refused[name] = str(error)
            continue
        found.append(StoredTenant(name, route, bool(pinned), weight))
    return found, refused


def read_past(connection: sqlite3.Connection, store: Path, name: str, digest: str) -> Past | None:
    """Return the state of a digest in which one of a tenant's versions was; None if none of them was.

    Known are the last `PAST` states that its routes named, and all through which these went.

    Raises:
        UnknownTenantError: If no tenant has the name.
        InputError: If a row is not what was written.
    """
    row = connection.execute(
        "WITH RECURSIVE known (id) AS (SELECT state FROM past WHERE tenant = :tenant"
        " UNION SELECT before FROM states JOIN known USING (id))"
        " SELECT id FROM states WHERE digest = :digest AND id IN known",
        {"tenant": tenant_id(connection, name), "digest": digest},
    ).fetchone()
    return None if row is None else Past(*States(connection, store).state(row[0]))


def _note(connection: sqlite3.Connection, tenant: int, places: Sequence[int]) -> list[int]:
    """Remember states as the latest ones of a tenant; return those that are forgotten for them."""
    (last,) = connection.execute("SELECT coalesce(max(place), 0) FROM past WHERE tenant = ?", (tenant,)).fetchone()
    for place, state in enumerate(places, start=last + 1):
        connection.execute(
            "INSERT INTO past (tenant, state, place) VALUES (?, ?, ?)"
            " ON CONFLICT (tenant, state) DO UPDATE SET place = excluded.place",
            (tenant, state, place),
        )
    rows = connection.execute(
        "SELECT state FROM past WHERE tenant = ? ORDER BY place DESC LIMIT -1 OFFSET ?", (tenant, PAST)
    ).fetchall()
    for (state,) in rows:
        connection.execute("DELETE FROM past WHERE tenant = ? AND state = ?", (tenant, state))
    return [state for (state,) in rows]
