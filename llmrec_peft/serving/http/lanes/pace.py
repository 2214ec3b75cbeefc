"""Pace: how fast something drains, from what drained lately."""

from __future__ import annotations

HALF_S = 10.0
"""Seconds after which what drained counts half."""


class Pace:
    """Amounts that drained and the seconds in which they did, both of which count half after `HALF_S` seconds.

    Seconds in which there was nothing to drain do not count.
    """

    def __init__(self) -> None:
        """Begin without anything known."""
        self._amount, self._seconds = 0.0, 0.0
        self._last: float | None = None

    def begin(self, now: float) -> None:
        """Note that there is something to drain from now on."""
        if self._last is None:
            self._last = now

    def note(self, amount: float, now: float) -> None:
        """Note that some of it has drained."""
        passed = 0.0 if self._last is None else max(0.0, now - self._last)
        kept = 0.5 ** (passed / HALF_S)
        self._amount, self._seconds, self._last = self._amount * kept + amount, self._seconds * kept + passed, now

    def rest(self) -> None:
        """Note that nothing is left to drain."""
        self._last = None

    @property
    def per_second(self) -> float | None:
        """Amount that drains in a second; None as long as nothing is known."""
        return self._amount / self._seconds if self._amount > 0 and self._seconds > 0 else None
