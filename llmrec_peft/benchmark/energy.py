"""Energy: what processor packages and the GPU have used, where the machine reports it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
"""Where Linux has the counters of RAPL; most systems let the administrator alone read them."""
_COUNTED = re.compile(r"^(package-\d+|dram)$")
"""Zones that are counted: cores lie within their package, and `psys` holds all of them."""


class PackageEnergy:
    """Energy of all processor packages and of their memory, for the whole machine.

    A counter starts again at zero after some minutes to hours, so `joules` has to be called at least once a minute.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        """Find the counters that can be read."""
        self._zones = [zone for zone in sorted(folder.glob("intel-rapl*:*")) if _is_counted(zone)]
        self._last = [_micro(zone / "energy_uj") for zone in self._zones]
        self._used = 0

    def joules(self) -> float | None:
        """Return the energy in joules since the object was made; None where no counter can be read."""
        if not self._zones:
            return None
        for at, zone in enumerate(self._zones):
            now, before = _micro(zone / "energy_uj"), self._last[at]
            if now is None or before is None:
                return None
            self._used += now - before if now >= before else now - before + (_micro(zone / "max_energy_range_uj") or 0)
            self._last[at] = now
        return self._used / 1e6


def gpu_joules() -> float | None:
    """Return the energy in joules that the current CUDA device has used since its driver was loaded.

    None without a CUDA device, without the package ``nvidia-ml-py``, and for a device that does not count it.
    """
    import torch

    if not torch.cuda.is_available():
        return None
    try:
        pynvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties().uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(device)) / 1e3
    except pynvml.NVMLError:
        return None


def _is_counted(zone: Path) -> bool:
    try:
        name = (zone / "name").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return False
    return bool(_COUNTED.match(name)) and _micro(zone / "energy_uj") is not None


def _micro(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
