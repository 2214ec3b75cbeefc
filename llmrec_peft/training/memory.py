"""Peak memory of this process and of its CUDA device."""

from __future__ import annotations

import resource
import sys


def peak_rss_mb() -> float:
    """Return the highest resident set size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def peak_cuda_mb() -> float | None:
    """Return the highest CUDA memory allocated so far, in MiB; None without CUDA."""
    import torch

    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
