"""Rows: what the tables of the page show, made of answers of the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrec_peft.explanation.wording import TITLES, described
from llmrec_peft.serving.http.page.views import Overview, Traffic
from llmrec_peft.serving.http.schemas import ConditionOut, IdentityOut, TenantOut

_MIDDLE = 50.0
"""Where a bar of evidence begins, of 100."""
MOST_TENANTS = 100
"""Rows of the table of tenants, which is read again every few seconds."""


@dataclass(frozen=True)
class VersionRow:
    """A version of a tenant.

    Attributes:
        role: ``answers``, ``on trial`` or ``former``.
        identity: The version and its state.
        condition: Where it is; None where the server does not say.
    """

    role: str
    identity: IdentityOut
    condition: ConditionOut | None

    @property
    def failed(self) -> bool:
        """Whether it could not be loaded."""
        return self.condition is not None and self.condition.failure is not None


@dataclass(frozen=True)
class TenantRow:
    """A tenant in the table of all.

    Attributes:
        standing: Its versions.
        versions: The same as rows.
        traffic: Its requests.
        waiting: Requests of it that wait.
    """

    standing: TenantOut
    versions: tuple[VersionRow, ...]
    traffic: Traffic
    waiting: int

    @property
    def where(self) -> str:
        """Tiers of its versions, each once."""
        return ", ".join(dict.fromkeys(row.condition.tier for row in self.versions if row.condition is not None))

    @property
    def failures(self) -> list[VersionRow]:
        """Versions that could not be loaded."""
        return [row for row in self.versions if row.failed]


@dataclass(frozen=True)
class MemoryRow:
    """Memory of one tier.

    Attributes:
        tier: What lies there.
        used: Bytes.
        budget: Bytes that it may take; None for no bound.
    """

    tier: str
    used: int
    budget: int | None


@dataclass(frozen=True)
class EvidenceRow:
    """A piece of evidence with its bar.

    Attributes:
        what: The piece in words.
        contribution: What it added to the score.
        method: How that was computed.
        start: Where its bar begins, 0 to 100; at 50 if it speaks for the item, and left of it otherwise.
        width: Its bar's width, 0 to 50; 0 for what the head adds to every score.
    """

    what: str
    contribution: float
    method: str
    start: float
    width: float


def version_rows(tenant: TenantOut) -> tuple[VersionRow, ...]:
    """Return a tenant's versions with where they are."""
    conditions = {one.version: one for one in tenant.conditions}
    roles = (("answers", tenant.main), ("on trial", tenant.trial), ("former", tenant.former))
    return tuple(VersionRow(role, one, conditions.get(one.version)) for role, one in roles if one is not None)


def tenant_rows(tenants: Sequence[TenantOut], overview: Overview, most: int = MOST_TENANTS) -> list[TenantRow]:
    """Return the rows of the table of tenants.

    Args:
        tenants: All tenants, in the order in which they are shown if all of them are.
        overview: Figures of the same moment.
        most: Rows; of more tenants, those with failed versions come first, then the busiest.
    """
    rows = [
        TenantRow(
            one,
            version_rows(one),
            overview.tenants.get(one.tenant, Traffic()),
            overview.queue.requests.get(one.tenant, 0),
        )
        for one in tenants
    ]
    if len(rows) > most:
        rows.sort(key=lambda row: (not row.failures, -row.traffic.per_s))
    return rows[:most]


def memory_rows(overview: Overview) -> list[MemoryRow]:
    """Return the tiers from the fastest memory to the disk."""
    memory, lists = overview.memory, overview.cache
    return [
        MemoryRow("adapters beside the base", memory.adapter_bytes, memory.adapter_budget),
        MemoryRow("versions in memory", memory.host_bytes, memory.host_budget),
        MemoryRow("of these, pinned", memory.pinned_bytes, memory.host_budget),
        MemoryRow("copies of adapters", memory.adapter_host_bytes, memory.adapter_host_budget),
        MemoryRow("lists that are kept", lists.nbytes, lists.most_bytes),
        MemoryRow("vectors of added items", memory.added_bytes, None),
        MemoryRow("skeletons of versions", memory.skeleton_bytes, None),
        MemoryRow("mapped files", memory.mapped_bytes, None),
        MemoryRow("sealed store on the disk", memory.disk_bytes, None),
    ]


def evidence_tables(explanation: Mapping[str, Any]) -> list[tuple[str, list[EvidenceRow]]]:
    """Return captions and rows of an explanation's kinds of evidence; bars of all kinds have one scale.

    Args:
        explanation: An explanation as plain values, see `Explanation.plain`.
    """
    pieces, unit = explanation["evidence"], str(explanation["unit"])
    largest = max((abs(float(piece["contribution"])) for piece in pieces), default=0.0) or 1.0
    tables = {kind: [_row(piece, unit, largest) for piece in pieces if piece["kind"] == kind] for kind in TITLES}
    if any(row.method == "exact" for row in tables["signal"]):  # then signals and what the head adds are a sum
        constants = explanation["base"].items()
        tables["signal"][:0] = [EvidenceRow(name, value, "constant", _MIDDLE, 0.0) for name, value in constants]
    return [(TITLES[kind].capitalize(), rows) for kind, rows in tables.items() if rows]


def _row(piece: Mapping[str, Any], unit: str, largest: float) -> EvidenceRow:
    value = float(piece["contribution"])
    width = round(_MIDDLE * abs(value) / largest, 2)
    start = _MIDDLE - width if value < 0 else _MIDDLE
    return EvidenceRow(described(piece, unit), value, str(piece["method"]), start, width)
