"""Worker: what works on the parts of a job, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Report = Mapping[str, Any]
"""What a worker says of a part that it has done: plain values."""


class Worker(Protocol):
    """Works on parts of one job, one after the other.

    It is made of plain values by its class, in the process that works: what takes long, such as loading a model, waits
    for the first part. The same part gives the same result whoever works on it, and working on it twice does no harm.
    """

    def work(self, part: str) -> Report:
        """Read a part, write its result whole or not at all, and say what was done.

        Raises:
            InputError: If what was given is wrong; the whole job ends with this error.
        """
