"""Texts of new items from 1 to 256 tenants under Zipf's law, where the slab of adapters has room for 64 of them.

As `serving/cliff.py`, with another call: the vectors of four new texts under a tenant's adapter, in passes that callers
share. All versions are in memory, so that what is full is the slab alone. An adapter's first time in a slot, which its
method checks, is over before anything is measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serving.cliff import AGAIN, CALLERS, GOAL, ZIPF, Call, Row, measured, registered, row_of
from serving.cliff import plot as plot_curves
from serving.cliff import table as table_of_curves
from serving.crowd import Crowd, crowd
from serving.engines import engine_of

SIZES, HELD = (1, 4, 16, 64, 256), 64
ROUNDS, SECONDS = 5, 3.0
TEXTS = 4
"""New texts of a call."""


def measure(small: bool) -> dict[str, Any]:
    """Measure new texts where the slab is full from `HELD` tenants on."""
    sizes, held = ((1, 2, 4), 2) if small else (SIZES, HELD)
    rounds, seconds = (2, 0.5) if small else (ROUNDS, SECONDS)
    everyone = crowd(sizes[-1], small)
    call = encoding(everyone)
    whole = engine_of(everyone)
    registered(whole, everyone, held)
    for number in range(1, held + 1):
        call(whole, f"tenant {number}", number)
    budget = max(2 << 20, whole.memory().adapter_bytes * 5 // 4)  # extents are not all full
    whole.close()
    rows = [slabbed(str(size), everyone, size, budget) for size in sizes] + [slabbed(AGAIN, everyone, 1, budget)]
    name = f"new texts, slab of {held} adapters"
    curve = {"adapter_bytes": budget, **measured(rows, call, rounds, seconds)}
    return {"items": everyone.items, "zipf": ZIPF, "callers": CALLERS, "goal": GOAL, "curves": {name: curve}}


def slabbed(name: str, everyone: Crowd, size: int, budget: int) -> Row:
    """Return a row with an engine of its own, whose slab has so many bytes."""
    engine = engine_of(everyone, adapter_bytes=budget)
    registered(engine, everyone, size)
    return row_of(name, engine, everyone, size)


def encoding(everyone: Crowd) -> Call:
    """Return the call for the vectors of some new texts under a tenant's adapter."""
    titles = everyone.titles

    def call(engine: Any, tenant: str, number: int) -> object:
        texts = [f"{titles[(number * 37 + at) % len(titles)]} {number}" for at in range(TEXTS)]
        with engine._tier.leased(engine._tenants.route(tenant).main) as snapshot:
            return engine._encoder.items(snapshot.version, texts)

    return call


def table(found: dict[str, Any]) -> str:
    """Return the table of `serving/cliff.py`."""
    return table_of_curves(found)


def plot(found: dict[str, Any], target: Path) -> None:
    """Draw the curve."""
    plot_curves(found, target)
