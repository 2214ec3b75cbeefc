"""Outcome of a check: whether it held, what was measured, and what was allowed."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
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


def tried(check: Callable[[], Outcome | None]) -> tuple[Outcome | None, str]:
    """A check's outcome, None where its rule does not apply, and the traceback where it raised."""
    try:
        return check(), ""
    except Exception as error:  # noqa: BLE001 - a stranger's plugin may raise anything
        return raised(error), "".join(traceback.format_exception(error))


def raised(error: Exception) -> Outcome:
    """The outcome of a check that raised."""
    cause = (str(error).strip() or "-").splitlines()[0][:200]
    return Outcome(False, note=f"raises {type(error).__name__}: {cause}")


def failures(checks: Mapping[str, Outcome]) -> list[str]:
    """One line for each check that failed."""
    return [
        f"{name}: {outcome.note or f'measured {outcome.measured}, allowed {outcome.tolerance}'}"
        for name, outcome in checks.items()
        if not outcome.ok
    ]
