"""Sampler: a process beside a cell that records the cell's memory and the processors' energy, phase by phase.

python -m llmrec_peft.benchmark.sampler PID

It reads lines on stdin: a name begins a phase, an empty line ends it. It answers each with a line. When stdin ends, it
writes what it found as one line of JSON. Between phases it sleeps, so that nothing is disturbed that is timed there.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time

from llmrec_peft.benchmark.energy import PackageEnergy
from llmrec_peft.benchmark.family import Family

INTERVAL_SECONDS = 0.05
"""Time between two readings of the memory."""
_ENERGY_SECONDS = 10.0
"""Time after which the counters of energy are read again, at the latest."""


class Phase:
    """What a phase takes, from its beginning on."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._high_water = family.high_water()
        self._peak = 0
        self._energy = PackageEnergy()
        self._read_at = time.monotonic()
        self.sample()

    def sample(self) -> None:
        """Take a reading."""
        self._peak = max(self._peak, self._family.resident())
        if time.monotonic() - self._read_at > _ENERGY_SECONDS:
            self._energy.joules()
            self._read_at = time.monotonic()

    def end(self) -> dict[str, float | None]:
        """Return the peak ``rss`` in bytes, and ``joules``."""
        self.sample()
        high_water = self._family.high_water()
        if high_water > self._high_water:  # the process's own peak was in this phase, perhaps between two readings
            self._peak = max(self._peak, high_water)
        return {"rss": self._peak, "joules": self._energy.joules()}


def main(arguments: list[str]) -> int:
    """Watch the process that is named until stdin ends."""
    family = Family(int(arguments[0]), without=os.getpid())
    found: dict[str, dict[str, float | None]] = {}
    name, phase = "", None
    while True:
        if phase is not None and not select.select([sys.stdin], [], [], INTERVAL_SECONDS)[0]:
            phase.sample()
            continue
        line = sys.stdin.readline()  # each line is answered before the next one comes
        if phase is not None:
            found[name] = phase.end()
        if not line:
            sys.stdout.write(json.dumps(found))
            return 0
        name = line.strip()
        phase = Phase(family) if name else None
        sys.stdout.write("\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
