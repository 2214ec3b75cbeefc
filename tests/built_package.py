"""The package as it is published: a source archive, the wheel that is built from it, and an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from throw_away import empty_environment, package_folders

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
    """Install the wheel in a new virtual environment beside the packages that it needs.

    Those are this environment's: their folders are searched, but no `.pth` file in them is read, so that nothing of the
    checkout is found.
    """
    packages = empty_environment(environment)
    options = ["--python", environment / "bin" / "python", "install", "--no-deps", "--no-index", "--quiet"]
    done = subprocess.run([sys.executable, "-m", "pip", *options, wheel], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (packages / "parent.pth").write_text("\n".join(package_folders()) + "\n", encoding="utf-8")


def run(environment: Path, cwd: Path, command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment, without what points Python elsewhere."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LLMREC", "PYTEST"))
    }
    return subprocess.run(
        [environment / "bin" / command, *(str(argument) for argument in arguments)],
        env={**inherited, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
