"""Phases: peak memory and energy of this process by phase, measured by a sampler in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from llmrec_peft.benchmark.energy import gpu_joules
from llmrec_peft.training.memory import forget_cuda_peaks, peak_cuda_mb, peak_cuda_reserved_mb

_MB = 2**20


class Phases:
    """Measures phases inside its own ``with`` block; the results are there after the block.

    Main memory is the sum over this process and its children. Only what a phase does is sampled, so that what is
    timed belongs between phases.
    """

    def __init__(self) -> None:
        self._cuda: dict[str, dict[str, float | None]] = {}
        self._gpu_joules: dict[str, float | None] = {}
        self._found: dict[str, dict[str, float | None]] = {}

    def __enter__(self) -> Self:
        self._sampler = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", "llmrec_peft.benchmark.sampler", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        out, _ = self._sampler.communicate()
        if error is None:
            self._found = json.loads(out)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what the block does, as the phase of this name; a name is used once."""
        forget_cuda_peaks()
        energy = gpu_joules()
        self._tell(name)
        try:
            yield
        finally:
            self._tell("")
        self._cuda[name] = {"cuda": peak_cuda_mb(), "cuda_reserved": peak_cuda_reserved_mb()}
        after = gpu_joules()
        self._gpu_joules[name] = None if energy is None or after is None else after - energy

    def memory(self) -> dict[str, Any]:
        """Return ``rss``, ``cuda`` (allocated) and ``cuda_reserved`` in MiB over all phases, and by ``phases``."""
        phases = {
            name: {"rss": round((found["rss"] or 0.0) / _MB, 1), **self._cuda[name]}
            for name, found in self._found.items()
        }
        peaks: dict[str, float | None] = {}
        for key in ("rss", "cuda", "cuda_reserved"):
            known = [value for one in phases.values() if (value := one[key]) is not None]
            peaks[key] = max(known, default=None)
        return {**peaks, "phases": phases}

    def joules(self, name: str) -> float | None:
        """Return the energy of a phase, of what the machine reports: its processors and this process's GPU."""
        parts = [part for part in (self._found[name]["joules"], self._gpu_joules[name]) if part is not None]
        return round(sum(parts), 1) if parts else None

    def _tell(self, line: str) -> None:
        """Begin a phase, or end the one that runs, and wait until the sampler has taken note."""
        asked, answered = self._sampler.stdin, self._sampler.stdout
        if asked is not None and answered is not None:
            asked.write(f"{line}\n")
            asked.flush()
            if answered.readline():
                return
        raise RuntimeError("the process that samples memory has ended")
