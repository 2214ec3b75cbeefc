"""`.ci/release.py` in a repository of its own: what it refuses, what it leaves, and that a failing wheel has no tag."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.trains

ROOT = Path(__file__).resolve().parents[2]
TAKEN = (
    *("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", ".gitignore", ".ci"),
    *("llmrec_peft", "adapters", "recipes"),
)
VERSION, DATE = "9.8.7", "2031-02-03"
WHEELS_TEST = "tests/release/test_wheel.py"
PASSES = """
import os, pathlib
def test_what_was_built_is_given():
    names = sorted(path.name for path in pathlib.Path(os.environ["LLMREC_DIST"]).iterdir())
    assert names == ["llmrec_peft-9.8.7-py3-none-any.whl", "llmrec_peft-9.8.7.tar.gz"]
"""
FAILS = "def test_that_fails():\n    assert False\n"


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def replaced(folder: Path, name: str, old: str, new: str) -> None:
    """Write another text in a file, which has to have the old one."""
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "chore: release")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the package in which 9.8.7 can be released; its wheel has a test that is quick."""
    folder = tmp_path_factory.mktemp("ready") / "repository"
    for name in TAKEN:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ruff_cache"))
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(source, folder / name)
    (folder / "tests" / "release").mkdir(parents=True)
    (folder / WHEELS_TEST).write_text(PASSES, encoding="utf-8")
    now = version_of(folder)
    replaced(folder, "pyproject.toml", f'\nversion = "{now}"', f'\nversion = "{VERSION}"')
    replaced(folder, "llmrec_peft/identity.py", f'__version__ = "{now}"', f'__version__ = "{VERSION}"')
    citation = (folder / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    kept = [line for line in citation if not line.startswith(("version:", "date-released:"))]
    lines = [*kept, f"version: {VERSION}", f'date-released: "{DATE}"', ""]
    (folder / "CITATION.cff").write_text("\n".join(lines), encoding="utf-8")
    replaced(folder, "CHANGELOG.md", "## [Unreleased]\n", f"## [Unreleased]\n\n## [{VERSION}] - {DATE}\n")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "config", "user.name", "Tester")
    git(folder, "config", "user.email", "tester@example.org")
    commit(folder)
    return folder


def version_of(folder: Path) -> str:
    """The version that the metadata says."""
    text = (folder / "pyproject.toml").read_text(encoding="utf-8")
    return text.partition('\nversion = "')[2].partition('"')[0]


@pytest.fixture
def repository(ready: Path, tmp_path: Path) -> Path:
    """A copy of that repository."""
    return shutil.copytree(ready, tmp_path / "repository")


def release(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, folder / ".ci" / "release.py", *arguments]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, timeout=120, check=False)


def refused(folder: Path, *arguments: str) -> str:
    """The one line that is printed where the version is refused, before anything is built."""
    done = release(folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("release: ")
    return line


def test_a_dry_run_builds_and_tries_but_leaves_nothing(repository: Path) -> None:
    done = release(repository, VERSION, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "9.8.7 can be released" in done.stdout
    assert git(repository, "tag") == ""
    assert git(repository, "status", "--porcelain", "--ignored") == ""


def test_the_version_is_tagged_and_what_was_built_is_kept(repository: Path) -> None:
    done = release(repository, VERSION)
    assert done.returncode == 0, done.stderr
    assert git(repository, "tag") == "v9.8.7"
    assert git(repository, "rev-parse", "v9.8.7^{commit}") == git(repository, "rev-parse", "HEAD")
    names = sorted(path.name for path in (repository / "dist" / VERSION).iterdir())
    assert names == ["llmrec_peft-9.8.7-py3-none-any.whl", "llmrec_peft-9.8.7.tar.gz"]
    assert "git push origin main v9.8.7" in done.stdout
    assert "9.8.7 is not newer than 9.8.7" in refused(repository, VERSION)


def test_a_wheel_whose_tests_fail_has_no_tag(repository: Path) -> None:
    (repository / WHEELS_TEST).write_text(FAILS, encoding="utf-8")
    commit(repository)
    done = release(repository, VERSION)
    assert done.returncode == 2
    assert "1 failed" in done.stderr
    assert done.stderr.splitlines()[-1] == "release: the wheel's tests failed, as printed above"
    assert git(repository, "tag") == ""
    assert not (repository / "dist").exists()


CHANGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "metadata": (
        "pyproject.toml says '9.8.6': write '9.8.7'",
        lambda at: replaced(at, "pyproject.toml", 'version = "9.8.7"', 'version = "9.8.6"'),
    ),
    "module": (
        "llmrec_peft/identity.py says '9.8.6'",
        lambda at: replaced(at, "llmrec_peft/identity.py", '"9.8.7"', '"9.8.6"'),
    ),
    "citation": ("CITATION.cff says '9.8'", lambda at: replaced(at, "CITATION.cff", "9.8.7", "9.8")),
    "date": (
        "CITATION.cff, date-released says '2031-02-04': write '2031-02-03'",
        lambda at: replaced(at, "CITATION.cff", DATE, "2031-02-04"),
    ),
    "heading": ("has no line '## [9.8.7]", lambda at: replaced(at, "CHANGELOG.md", "## [9.8.7]", "## [9.8.8]")),
    "unreleased": (
        "entries under [Unreleased]",
        lambda at: replaced(at, "CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n### Added\n\n- More.\n"),
    ),
}


@pytest.mark.parametrize("what", list(CHANGES))
def test_places_that_disagree_are_named(repository: Path, what: str) -> None:
    message, change = CHANGES[what]
    change(repository)
    commit(repository)
    assert message in refused(repository, VERSION)


@pytest.mark.parametrize("text", ["9.8", "v9.8.7", "9.8.07", "9.8.7.dev1", "9.8.7; true", ""])
def test_what_is_no_version_is_refused(ready: Path, text: str) -> None:
    assert "is no version" in refused(ready, text)


def test_changes_and_other_branches_are_refused(repository: Path) -> None:
    (repository / "new.txt").write_text("", encoding="utf-8")
    assert "not committed" in refused(repository, VERSION)
    (repository / "new.txt").unlink()
    git(repository, "switch", "--quiet", "--create", "other")
    assert "made of main, not of other" in refused(repository, VERSION)
    git(repository, "switch", "--quiet", "--detach")
    assert "detached head" in refused(repository, VERSION)


def test_a_version_older_than_a_tag_is_refused(repository: Path) -> None:
    git(repository, "tag", "v9.10.0")
    assert "9.8.7 is not newer than 9.10.0" in refused(repository, VERSION)


def test_this_checkout_names_one_version_everywhere() -> None:
    """What is released next starts from here."""
    now = version_of(ROOT)
    assert f'__version__ = "{now}"' in (ROOT / "llmrec_peft" / "identity.py").read_text(encoding="utf-8")
    assert f"\nversion: {now}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
