"""Freed memory: what a pass frees is kept for the next one, where the C library would give it back to the system."""

from __future__ import annotations

import ctypes
import os

KEPT = 128 << 20
"""Bytes of freed memory that the process keeps at most at the end of its heap."""
_LARGEST = 32 << 20
"""Bytes of the largest block that comes from the heap: more than this glibc does not allow."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let glibc keep up to `KEPT` bytes of freed memory, in this process, from now on.

    By default it returns the states of a layer to the system as soon as they are freed, and the next layer's are mapped
    anew, page by page: 5,000 to 30,000 page faults in a pass of 16 texts through MiniLM on a CPU, about a tenth of its
    time and, where sums in fp32 are as large as states, up to a third.

    Returns:
        Whether it was set: not under another C library or allocator, nor where the environment already says.
    """
    if any(name in os.environ for name in _SET_BY_USER):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, KEPT)) and bool(mallopt(_MMAP_THRESHOLD, _LARGEST))
