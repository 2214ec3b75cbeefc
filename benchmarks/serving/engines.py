"""Engines of a crowd on one base in memory, and what they say of their tiers."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from serving.crowd import Crowd


@functools.cache
def _base(run: Path) -> Any:
    from llmrec_peft.run.recommender import Recommender

    return Recommender.from_pretrained(run, device="cpu")


def engine_of(everyone: Crowd, **options: Any) -> Any:
    """Return an engine over the crowd's store that keeps no lists; all engines share one base."""
    from llmrec_peft.serving.engine import Engine

    base = _base(everyone.runs[0])
    return Engine(everyone.store, base=base, device="cpu", cache_bytes=0, try_adapters=False, **options)


def host_bytes_of(engine: Any, tenants: int) -> int:
    """Return the bytes that so many versions take as an engine counts them."""
    found = engine.memory()
    return int(found.host_bytes / max(1, found.ready) * tenants)


def meters(engine: Any) -> dict[str, int]:
    """Return how often versions were found in memory, waited for, loaded and evicted."""
    found = engine.memory()
    return {name: getattr(found, name) for name in ("hits", "waits", "loads", "evictions")}
