"""Memory: what an engine's versions take, tier by tier, and what became of asks for them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from llmrec_peft.serving.tiers.failures import Failure

Tier = Literal["sealed", "loading", "ready", "failed"]


@dataclass(frozen=True)
class Condition:
    """Where a version is.

    Attributes:
        version: Digest of its manifest.
        tier: ``sealed``: on the disk alone. ``loading``: wanted, and being loaded or waiting for its turn.
            ``ready``: in memory. ``failed``: it could not be loaded.
        pinned: Whether a tenant has it pinned.
        nbytes: Private bytes that it takes in memory, as last counted; 0 if it never was there.
        failure: Why it could not be loaded; None unless it failed.
    """

    version: str
    tier: Tier
    pinned: bool
    nbytes: int
    failure: Failure | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes by tier, versions by where they are, and what happened since the engine began.

    Attributes:
        host_budget: Bytes that loaded versions may take; None for no bound.
        host_bytes: Private bytes of loaded versions, and of those for which room is being held while they load.
        mapped_bytes: Bytes of sealed files that loaded versions have mapped; the system drops and reads them as it
            likes, so that they are not in the budget.
        pinned_bytes: Private bytes of pinned versions, a part of `host_bytes`.
        added_bytes: Vectors of items that were added since training, which are kept for versions on the disk as well.
            They are not in the budget.
        skeleton_bytes: What is kept of versions so that they come back quickly, whether or not they are loaded; 64 MiB
            at most, not in the budget.
        adapter_budget: Bytes of the slab of adapters; 0 without one.
        adapter_bytes: Bytes of it that adapters take.
        adapter_host_budget: Bytes of host memory for copies of adapters; 0 without any.
        adapter_host_bytes: Bytes of it that copies take.
        disk_bytes: Bytes of the sealed store.
        sealed: Versions on the disk alone.
        loading: Versions that are being loaded or wait for their turn.
        ready: Versions in memory.
        failed: Versions that could not be loaded.
        hits: Asks that found their version in memory.
        waits: Asks that waited for one.
        loads: Loads that succeeded, those of registering and swapping included.
        evictions: Versions that left memory to make room.
        failures: Loads that failed.
        refusals: Asks that got an error for their version's absence: no room, no time, or a failed load.
    """

    host_budget: int | None
    host_bytes: int
    mapped_bytes: int
    pinned_bytes: int
    added_bytes: int
    skeleton_bytes: int
    adapter_budget: int
    adapter_bytes: int
    adapter_host_budget: int
    adapter_host_bytes: int
    disk_bytes: int
    sealed: int
    loading: int
    ready: int
    failed: int
    hits: int
    waits: int
    loads: int
    evictions: int
    failures: int
    refusals: int

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)
