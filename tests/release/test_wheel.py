"""The built wheel: whole, taken by the index, and used outside the checkout as a person uses it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from built_package import ROOT, Built, build, install, run

from llmrec_peft import __version__

pytestmark = pytest.mark.trains

SOURCES = {
    "llmrec_peft": "llmrec_peft",
    "adapters/llmrec_adapters": "llmrec_adapters",
    "recipes/llmrec_recipes": "llmrec_recipes",
}
"""Folder of each package in the checkout, and its name in the wheel."""
QUICK = (
    *("adapter.layers=top-1", "training.epochs=1", "evaluation.bootstrap=0", "evaluation.ablations=[]"),
    *("evaluation.blend=false", "evaluation.collaborative_only=false"),
)
"""The demo in less time: one epoch, one adapted layer, no further models beside the tuned one."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The wheel and the source archive of this checkout."""
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def environment(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("wheel") / "env"
    install(built.wheel, folder)
    return folder


def in_checkout(*folders: str) -> set[str]:
    """Files of the checkout that git does not ignore; the test is skipped where this is no git checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout:
        pytest.skip("the files are compared with those of a git checkout, and this is none")
    return {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}


def test_the_wheel_has_every_file_of_the_packages_and_no_other(built: Built) -> None:
    expected = {
        package + name.removeprefix(folder) for folder, package in SOURCES.items() for name in in_checkout(folder)
    }
    found = {name for name in built.in_wheel() if ".dist-info/" not in name}
    assert (sorted(expected - found), sorted(found - expected)) == ([], [])
    assert any(name.endswith(".jinja") for name in found)


def test_the_source_archive_has_every_file_of_the_repository(built: Built) -> None:
    missing = in_checkout() - built.in_sdist()
    assert sorted(missing) == []


def test_the_index_takes_metadata_and_readme(built: Built) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", built.wheel, built.sdist],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_code_comes_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    names = tuple(SOURCES.values())
    code = f"import {', '.join(names)}; print(*(p.__path__[0] for p in ({', '.join(names)})), sep='\\n')"
    folders = [Path(line) for line in run(environment, tmp_path, "python", "-c", code).stdout.splitlines()]
    assert [folder.name for folder in folders] == list(names)
    assert all(folder.is_relative_to(environment) for folder in folders)
    code = "from importlib.util import find_spec; print(find_spec('fastapi'), find_spec('pytest'))"
    assert run(environment, tmp_path, "python", "-c", code).stdout.strip() == "None None", "extras are not there"


def test_every_plugin_of_the_package_is_listed_and_none_is_broken(environment: Path, tmp_path: Path) -> None:
    done = run(environment, tmp_path, "llmrec", "list", "--json")
    assert done.returncode == 0, done.stderr
    rows = [row for row in json.loads(done.stdout) if row["package"] == f"llmrec-peft {__version__}"]
    assert [row["name"] for row in rows if row["error"]] == []
    assert {"lora", "rating", "taste", "movies"} <= {row["name"] for row in rows}
    adapters = json.loads(run(environment, tmp_path, "llmrec", "list", "adapters", "--json").stdout)
    proofs = {row["name"]: row["matrix"]["encoder"]["fp32"] for row in adapters}
    assert proofs["lora"] == "proved", "conformance.json is part of the wheel"


def test_doctor_finds_the_machine_fit_by_the_command_that_uvx_runs(environment: Path, tmp_path: Path) -> None:
    """`uvx llmrec-peft` runs the command that is named as the package is."""
    done = run(environment, tmp_path, "llmrec-peft", "doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, [check for check in report["checks"] if not check["ok"]]


def test_the_demo_trains_recommends_and_is_reported(environment: Path, tmp_path: Path) -> None:
    changes = [part for setting in QUICK for part in ("--set", setting)]
    done = run(environment, tmp_path, "llmrec", "train", "movies", "--data", "demo", "--out", "demo", *changes)
    assert done.returncode == 0, done.stderr
    assert "after: tuned" in done.stdout
    done = run(environment, tmp_path, "llmrec", "recommend", "demo", "--user", 1, "-k", 5, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["items"]) == 5
    done = run(environment, tmp_path, "llmrec", "report", "demo")
    assert done.returncode == 0, done.stderr
    assert "<table" in (tmp_path / "demo.html").read_text(encoding="utf-8")


def test_types_of_the_installed_package_are_read(environment: Path, tmp_path: Path) -> None:
    """py.typed is where type checkers look for it."""
    code = "from importlib.resources import files; print(files('llmrec_peft').joinpath('py.typed').is_file())"
    assert run(environment, tmp_path, "python", "-c", code).stdout.strip() == "True"
