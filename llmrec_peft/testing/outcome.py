"""Outcome of a check: whether the rule holds, the measured value, and the allowed one."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """Result of one check.

    Attributes:
        ok: Whether the rule holds.
        measured: The value that decides, if there is one.
        tolerance: Largest allowed value (smallest, if the check says so).
        note: What is wrong, or worth knowing.
    """

    ok: bool
    measured: float | None = None
    tolerance: float | None = None
    note: str = ""

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values, without empty ones."""
        values = asdict(self)
        for key in ("measured", "tolerance"):
            if values[key] is not None:
                values[key] = float(f"{values[key]:.3g}") if values[key] == values[key] else None
        return {key: value for key, value in values.items() if value not in (None, "")}


def tried(check: Callable[[], Outcome | None]) -> tuple[Outcome | None, str]:
    """Run a check; return its outcome (None if its rule does not apply) and the traceback if it raised."""
    try:
        return check(), ""
    except Exception as error:  # noqa: BLE001 - a stranger's plugin may raise anything
        return raised(error), "".join(traceback.format_exception(error))


def raised(error: Exception) -> Outcome:
    """Return the outcome of a check that raised."""
    cause = (str(error).strip() or "-").splitlines()[0][:200]
    return Outcome(False, note=f"raises {type(error).__name__}: {cause}")


def failures(checks: Mapping[str, Outcome]) -> list[str]:
    """Return one line for each check that failed."""
    return [
        f"{name}: {outcome.note or f'measured {outcome.measured}, allowed {outcome.tolerance}'}"
        for name, outcome in checks.items()
        if not outcome.ok
    ]
