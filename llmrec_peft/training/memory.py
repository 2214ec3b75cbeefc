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


def peak_cuda_reserved_mb() -> float | None:
    """Return the most CUDA memory that torch took of the device so far, in MiB, with what it keeps for later tensors.

    None without CUDA.
    """
    import torch

    return torch.cuda.max_memory_reserved() / 2**20 if torch.cuda.is_available() else None


def forget_cuda_peaks() -> None:
    """Give back CUDA memory that no tensor uses, and count the peaks anew from here; nothing without CUDA."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
