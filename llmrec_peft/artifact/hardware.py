"""Hardware and library versions of a run, for its report."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "numpy", "safetensors", "bitsandbytes")


def versions() -> dict[str, str | None]:
    """Return the versions of Python, this package and its libraries; None for what is not installed."""
    by_name: dict[str, str | None] = {"python": platform.python_version(), "llmrec-peft": _version("llmrec-peft")}
    return by_name | {name: _version(name) for name in PACKAGES}


def hardware(device: str) -> dict[str, Any]:
    """Return processor, cores, memory and accelerator."""
    import psutil
    import torch

    return {
        "device": device,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
