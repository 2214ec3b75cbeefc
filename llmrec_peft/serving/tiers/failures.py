"""Failures: why a version could not be loaded, and when it is tried again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from llmrec_peft.errors import InputError, reason_of


@dataclass(frozen=True)
class Retry:
    """When a failed load is tried again: by an ask, after a pause that doubles each time.

    Attributes:
        first_s: Seconds of the first pause.
        most_s: Seconds of the longest one.
        attempts: Loads that may fail before none is tried any more.
    """

    first_s: float = 1.0
    most_s: float = 60.0
    attempts: int = 5


@dataclass(frozen=True)
class Failure:
    """A version that could not be loaded.

    Attributes:
        reason: Why, in one line.
        when: When it was tried last, in seconds since 1970.
        attempts: How many loads failed, one after the other.
        next_try: When the next ask tries it again, in seconds since 1970; None if none does.
    """

    reason: str
    when: float
    attempts: int
    next_try: float | None
    _due: float | None = field(default=None, repr=False, compare=False)

    @classmethod
    def after(cls, former: Failure | None, error: BaseException, retry: Retry) -> Failure:
        """Return the failure that an error adds to earlier ones."""
        attempts = 1 if former is None else former.attempts + 1
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {reason_of(error)}"
        now = time.time()
        if attempts >= retry.attempts:
            return cls(reason, now, attempts, None)
        pause = min(retry.most_s, retry.first_s * 2.0 ** (attempts - 1))
        return cls(reason, now, attempts, now + pause, time.monotonic() + pause)

    @property
    def retry_s(self) -> float | None:
        """Seconds until it is tried again, 0 if now; None if never."""
        return None if self._due is None else max(0.0, self._due - time.monotonic())

    def said(self) -> str:
        """Return the reason, and when the next attempt is."""
        pause = self.retry_s
        if pause is None:
            then = "it is not tried again before reload or swap"
        else:
            then = f"the next attempt is in {pause:.1f} s"
        return f"its version could not be loaded: {self.reason} (attempt {self.attempts}; {then})"
