"""A throw-away environment: a virtual environment over this one's packages, for packages that a test installs."""

from __future__ import annotations

import importlib.util
import os
import site
import subprocess
import sys
from pathlib import Path

import pytest


def empty_environment(folder: Path) -> Path:
    """Make a virtual environment without any package; return the folder that packages are installed in."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    return next((folder / "lib").glob("python*")) / "site-packages"


def make_environment(folder: Path, package: Path, *editable: str) -> None:
    """Make a virtual environment in `folder` that sees this one's packages and install the package on top.

    Args:
        folder: Where the environment is made.
        package: Folder of the package's ``pyproject.toml``.
        editable: ``"-e"`` to leave the package where it is.
    """
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("the package is built with setuptools, which is not installed here")
    ours = [path for path in (*site.getsitepackages(), *sys.path) if path.endswith("site-packages")]
    lines = [f"import site; site.addsitedir({path!r})" for path in dict.fromkeys(ours)]
    (empty_environment(folder) / "parent.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    done = run_python(folder, package, "-m", "pip", "install", *options, *editable, package)
    assert done.returncode == 0, done.stderr


def run_python(environment: Path, cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the environment's Python."""
    return subprocess.run(
        [environment / "bin" / "python", *(str(argument) for argument in arguments)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
