"""Waiting: a time limit that says what was waited for, since Ray's own start has none."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import Any

from llmrec_peft import InputError


@contextlib.contextmanager
def within(limit_s: float, what: str) -> Iterator[None]:
    """End the block with an error if it takes longer; for the main thread.

    Ray's processes end with the thread that started them (PR_SET_PDEATHSIG), so its start cannot be left to another
    thread; an alarm interrupts it where it is.

    Args:
        limit_s: Seconds.
        what: What is waited for, such as ``Ray to start``.

    Raises:
        InputError: If the block takes longer.
    """

    def late(*_: Any) -> None:
        raise InputError(f"waited {limit_s:g} s for {what}")

    begun, handler = time.monotonic(), signal.signal(signal.SIGALRM, late)
    before, _ = signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        left = before - (time.monotonic() - begun)
        signal.setitimer(signal.ITIMER_REAL, max(left, 1e-3) if before else 0.0)  # an alarm of the caller goes on
        signal.signal(signal.SIGALRM, handler)
