"""Outcome of a check: whether it held, what was measured, and what was allowed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What one check found.

    Attributes:
        ok: Whether the rule holds.
        measured: The figure it was judged by, where there is one.
        tolerance: What that figure may be at most (at least, where the check says so).
        note: What is wrong, or worth knowing.
    """

    ok: bool
    measured: float | None = None
    tolerance: float | None = None
    note: str = ""

    def plain(self) -> dict[str, Any]:
        """As plain values, without what is empty."""
        values = asdict(self)
        for key in ("measured", "tolerance"):
            if values[key] is not None:
                values[key] = float(f"{values[key]:.3g}") if values[key] == values[key] else None
        return {key: value for key, value in values.items() if value not in (None, "")}
