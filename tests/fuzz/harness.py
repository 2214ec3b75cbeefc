"""Feed a subject seeded hostile inputs and count what became of them.

A subject is a module ``tests/fuzz/subject_<name>.py`` with a function ``attempts(rng, folder)``, an endless iterator of
``Attempt``: a name that makes the input again, and a call that hands the input to the code under test. The call may
return (the input was accepted), raise `InputError` (refused in one line), or raise AssertionError where an invariant is
broken, such as changed bytes of a shared base. Everything else is a defect: another exception is a traceback, and a
call that is not back after `LIMIT_S` is a hang.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from llmrec_peft.errors import InputError

LIMIT_S = 20.0
"""Seconds after which an input counts as a hang."""
LONGEST_LINE = 1000
"""Characters of a refusal; a refusal that repeats the input whole is no help."""
PREFIX = "subject_"


@dataclass(frozen=True)
class Attempt:
    """One hostile input.

    Attributes:
        name: What was done to which input, so that a failure can be repeated.
        call: Hands it to the code under test.
    """

    name: str
    call: Callable[[], Any]


@dataclass
class Tally:
    """What became of the inputs.

    Attributes:
        inputs: How many were tried.
        accepted: How many calls returned.
        refused: How many were refused by `InputError`.
        tracebacks: Inputs that ended in another exception, with its last line.
        hangs: Inputs that took longer than `LIMIT_S`.
        broken: Inputs after which an invariant did not hold.
        peak_mib: Growth of the process's peak memory.
    """

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    tracebacks: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    peak_mib: float = 0.0

    @property
    def defects(self) -> list[str]:
        """Every input that found a defect."""
        return [*self.tracebacks, *self.hangs, *self.broken]


class Hang(BaseException):
    """An input took too long; no `except Exception` catches it."""


def subjects() -> list[str]:
    """Return the names of all subjects."""
    import fuzz

    found = (module.name for module in pkgutil.iter_modules(fuzz.__path__))
    return sorted(name.removeprefix(PREFIX) for name in found if name.startswith(PREFIX))


def fuzz_subject(subject: str, count: int, seed: int, folder: Path) -> Tally:
    """Try `count` inputs of a subject in an empty folder."""
    module = importlib.import_module(f"fuzz.{PREFIX}{subject}")
    rng = random.Random(f"{subject} {seed}")
    tally, before = Tally(), _peak_mib()
    for attempt in islice(module.attempts(rng, folder), count):
        _try(attempt, tally)
    tally.peak_mib = _peak_mib() - before
    return tally


def _try(attempt: Attempt, tally: Tally) -> None:
    tally.inputs += 1
    try:
        with _limited():
            attempt.call()
        tally.accepted += 1
    except InputError as error:
        tally.refused += 1
        message = str(error)
        if not message.strip() or "\n" in message or len(message) > LONGEST_LINE:
            tally.broken.append(f"{attempt.name}: refused in other than one short line: {message[:120]!r}")
    except Hang:
        tally.hangs.append(attempt.name)
    except AssertionError as error:
        tally.broken.append(f"{attempt.name}: {error or _last_place(error)}")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        tally.tracebacks.append(f"{attempt.name}: {type(error).__name__}: {str(error)[:120]} ({_last_place(error)})")


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _last_place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
