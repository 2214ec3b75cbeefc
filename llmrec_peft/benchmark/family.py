"""Family: the resident memory of a process and of all its descendants."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

_LOOK_AGAIN = 20
"""Readings after which new descendants are looked for: to find them, all processes of the machine are listed."""


class Family:
    """A process with its descendants.

    Args:
        pid: The process; it may be gone.
        without: A descendant that does not count.
    """

    def __init__(self, pid: int, without: int | None = None) -> None:
        self.pid = pid
        self._without = without
        self._members: list[psutil.Process] = []
        self._readings = 0

    def resident(self) -> int:
        """Return the sum of their resident memory in bytes; 0 if they are gone.

        Pages that several of them share count in each.
        """
        if self._readings % _LOOK_AGAIN == 0:
            self._members = self._found()
        self._readings += 1
        total = 0
        for member in self._members:
            with contextlib.suppress(psutil.Error):
                total += member.memory_info().rss
        return total

    def high_water(self) -> int:
        """Return the most that the process itself has had resident since it began, in bytes.

        The kernel keeps this number, so that no peak between two readings is missed. 0 if it cannot be read.
        """
        try:
            for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        except (OSError, ValueError, IndexError):
            return 0
        return 0

    def _found(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self.pid)
            members = [process, *process.children(recursive=True)]
        except psutil.Error:
            return []
        return [member for member in members if member.pid != self._without]
