"""Phases: memory that is taken and given back, by phase, beside what the kernel says; energy from made-up counters."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from llmrec_peft.benchmark.energy import PackageEnergy, gpu_joules
from llmrec_peft.benchmark.family import Family
from llmrec_peft.benchmark.phases import Phases
from llmrec_peft.training.memory import peak_rss_mb

MB = 2**20

WRAPPED = """
import json, subprocess, sys, time
from llmrec_peft.benchmark import phases
phases.forget_cuda_peaks = lambda: None
phases.peak_cuda_mb = phases.peak_cuda_reserved_mb = phases.gpu_joules = lambda: None
with phases.Phases() as measured:
    with measured.phase("small"):
        time.sleep(0.2)
    with measured.phase("large"):
        block = bytearray(300 * 2**20)
        time.sleep(0.2)
        del block
    with measured.phase("child"):
        code = "import time; block = bytearray(200 * 2**20); time.sleep(2.5)"
        subprocess.run([sys.executable, "-c", code])
    timed = bytearray(500 * 2**20 if "timed" in sys.argv else 1)
print(json.dumps(measured.memory()))
"""


def measured(*arguments: str) -> tuple[dict[str, Any], float]:
    """What the phases of a process were found to take, and what the kernel says of that process, in MiB."""
    outside = (
        "import json, resource, subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-c', *sys.argv[1:]], capture_output=True, text=True, check=True)\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024\n"
        "print(json.dumps([json.loads(done.stdout), peak]))"
    )
    command = [sys.executable, "-c", outside, WRAPPED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    memory, peak = json.loads(done.stdout)
    return memory, peak


@pytest.mark.trains
def test_peaks_are_those_of_the_kernel_and_each_belongs_to_its_phase() -> None:
    memory, peak = measured()
    phases = {name: one["rss"] for name, one in memory["phases"].items()}
    assert phases["large"] == pytest.approx(peak, rel=0.05), "the largest process, measured from outside"
    assert phases["large"] - phases["small"] == pytest.approx(300, rel=0.1)
    assert phases["child"] - phases["small"] > 200, "its own memory and that of Python in the child"
    assert memory["rss"] == max(phases.values())
    assert memory["cuda"] is memory["cuda_reserved"] is memory["phases"]["large"]["cuda"] is None


@pytest.mark.trains
def test_what_happens_between_phases_does_not_count() -> None:
    memory, peak = measured("timed")
    assert peak > 500
    assert memory["rss"] < 450


@pytest.mark.trains
def test_an_error_inside_a_phase_passes_through_and_ends_the_sampler() -> None:
    phases = Phases()
    with pytest.raises(ZeroDivisionError), phases, phases.phase("train"):
        _ = 1 / 0
    assert phases._sampler.returncode == 0


def test_a_family_that_is_gone_takes_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    family = Family(ended.pid)
    assert (family.resident(), family.high_water()) == (0, 0)


def test_the_high_water_mark_is_the_kernels() -> None:
    import os

    assert Family(os.getpid()).high_water() / MB == pytest.approx(peak_rss_mb(), rel=0.02)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


def zone(folder: Path, place: str, name: str, micro: int, most: int = 1_000_000) -> Path:
    found = folder / place
    found.mkdir(parents=True)
    for file, text in (("name", name), ("energy_uj", str(micro)), ("max_energy_range_uj", str(most))):
        (found / file).write_text(f"{text}\n", encoding="ascii")
    return found / "energy_uj"


def test_energy_is_that_of_packages_and_their_memory_past_the_end_of_a_counter(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 100)
    for at, inside in enumerate(("core", "psys")):
        zone(tmp_path, f"intel-rapl:0:{at + 2}", inside, 5).write_text("5", encoding="ascii")
    energy = PackageEnergy(tmp_path)
    package.write_text("200000\n", encoding="ascii")  # it began again after 1,000,000
    memory.write_text("50100\n", encoding="ascii")
    assert energy.joules() == pytest.approx(0.3 + 0.05)
    package.write_text("300000\n", encoding="ascii")
    assert energy.joules() == pytest.approx(0.45)


def test_a_machine_without_readable_counters_reports_none(tmp_path: Path) -> None:
    assert PackageEnergy(tmp_path).joules() is None
    zone(tmp_path, "intel-rapl:0", "package-0", 1).write_text("no number", encoding="ascii")
    assert PackageEnergy(tmp_path).joules() is None


def test_a_gpu_is_asked_by_its_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    def total(device: str) -> int:
        if device != "handle of GPU-1234":
            raise NVMLError
        return 12_500

    library = types.ModuleType("pynvml")
    vars(library).update(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: f"handle of {uuid}",
        nvmlDeviceGetTotalEnergyConsumption=total,
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_joules() is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    device = types.SimpleNamespace(uuid="1234")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: device)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_joules() is None, "the library is not installed"
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert gpu_joules() == 12.5
    device.uuid = "other"
    assert gpu_joules() is None


@pytest.mark.trains
def test_gpu_peaks_are_counted_anew_in_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    live = {"allocated": 0, "reserved": 0}
    peak = dict(live)

    def take(allocated: int, reserved: int) -> None:
        live.update(allocated=allocated * MB, reserved=reserved * MB)
        peak.update({name: max(peak[name], size) for name, size in live.items()})

    def give_back() -> None:
        live["reserved"] = live["allocated"]

    fake = {
        "is_available": lambda: True,
        "max_memory_allocated": lambda: peak["allocated"],
        "max_memory_reserved": lambda: peak["reserved"],
        "empty_cache": give_back,
        "reset_peak_memory_stats": lambda: peak.update(live),
    }
    for name, function in fake.items():
        monkeypatch.setattr(torch.cuda, name, function)
    readings = iter([1000.0, 1250.5, 1300.0, 1310.0])
    monkeypatch.setattr("llmrec_peft.benchmark.phases.gpu_joules", lambda: next(readings))
    with Phases() as phases:
        with phases.phase("train"):
            take(800, 1200)
            take(100, 1200)
        with phases.phase("answer"):
            take(150, 300)
    memory = phases.memory()
    train, answer = (memory["phases"][name] for name in ("train", "answer"))
    assert (train["cuda"], train["cuda_reserved"]) == (800, 1200)
    assert (answer["cuda"], answer["cuda_reserved"]) == (150, 300)
    assert (memory["cuda"], memory["cuda_reserved"]) == (800, 1200)
    assert phases.joules("train") == pytest.approx(250.5)
