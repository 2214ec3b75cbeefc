"""Release: check what a version needs, build it, try the built wheel, and tag it.

    .venv/bin/python .ci/release.py 0.2.0 --dry-run

Nothing is uploaded from here: the tag, once it is pushed, starts .github/workflows/release.yaml (docs/releasing.md).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"


class RefusalError(Exception):
    """What keeps the version from being released, in one line that says what to do."""


def main() -> None:
    """Release the version on the command line; exit with 2 and one line where something is missing."""
    parser = argparse.ArgumentParser(description="Check, build, try and tag a version.")
    parser.add_argument("version", help="such as 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="check, build and try it, but leave no tag and no files")
    given = parser.parse_args()
    try:
        require_version(given.version)
        require_clean_branch()
        require_new_tag(given.version)
        date = changelog_date(given.version)
        require_same_everywhere(given.version, date)
        with tempfile.TemporaryDirectory() as folder:
            built = build(Path(folder))
            try_out(Path(folder))
            if given.dry_run:
                print(f"{given.version} can be released: {', '.join(path.name for path in built)}")
                return
            kept = keep(built, ROOT / "dist" / given.version)
        git("tag", "--annotate", f"v{given.version}", "--message", f"llmrec-peft {given.version}")
    except RefusalError as error:
        print(f"release: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"tagged v{given.version}; built in {kept}. Upload it with: git push origin {BRANCH} v{given.version}")


def require_version(text: str) -> None:
    """Refuse what is no version of three numbers, with ``rcN`` behind them or without, in its normal form."""
    try:
        normal = str(Version(text))
    except InvalidVersion:
        normal = ""
    if normal != text or not re.fullmatch(r"\d+\.\d+\.\d+(rc\d+)?", text):
        raise RefusalError(f"{text!r} is no version: write three numbers, such as 0.2.0, or 0.2.0rc1")


def require_clean_branch() -> None:
    """Refuse changes that are not committed, since what is built is the work tree, and other branches."""
    if git("status", "--porcelain"):
        raise RefusalError("there are changes that are not committed: commit or remove them")
    branch = git("branch", "--show-current")
    if branch != BRANCH:
        raise RefusalError(f"releases are made of {BRANCH}, not of {branch or 'a detached head'}: git switch {BRANCH}")


def require_new_tag(version: str) -> None:
    """Refuse a version that is no newer than every one that has a tag."""
    tagged = [tag.removeprefix("v") for tag in git("tag", "--list", "v[0-9]*").split()]
    newest = max((Version(tag) for tag in tagged), default=None)
    if newest is not None and Version(version) <= newest:
        raise RefusalError(f"{version} is not newer than {newest}, which has a tag")


def changelog_date(version: str) -> str:
    """Date of the version's heading in the changelog; there has to be one, and nothing unreleased above it."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(rf"^## \[{re.escape(version)}\] - (\d{{4}}-\d\d-\d\d)$", text, re.MULTILINE)
    if heading is None:
        raise RefusalError(f"CHANGELOG.md has no line '## [{version}] - YYYY-MM-DD': turn [Unreleased] into it")
    above = text[: heading.start()].partition("## [Unreleased]")[2]
    if re.search(r"^- ", above, re.MULTILINE):
        raise RefusalError(f"CHANGELOG.md has entries under [Unreleased]: move them under [{version}]")
    return heading[1]


def require_same_everywhere(version: str, date: str) -> None:
    """Refuse where one of the places that name version or date says another."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation, identity = "CITATION.cff", "llmrec_peft/identity.py"
    found = [
        ("pyproject.toml", project["version"], version),
        (identity, written(identity, r'^__version__ = "(.*)"$'), version),
        (citation, written(citation, r'^version: "?([^"\n]*)"?$'), version),
        (f"{citation}, date-released", written(citation, r'^date-released: "?([^"\n]*)"?$'), date),
    ]
    for place, says, expected in found:
        if says != expected:
            raise RefusalError(f"{place} says {says!r}: write {expected!r}")


def written(name: str, pattern: str) -> str | None:
    """What a file has in the place of the pattern's group."""
    found = re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    return found and found[1]


def build(folder: Path) -> list[Path]:
    """Build the source archive, and the wheel of it, into a folder; the index has to take both."""
    step("build", sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    built = sorted(folder.iterdir())
    step("twine check", sys.executable, "-m", "twine", "check", "--strict", *map(str, built))
    return built


def try_out(folder: Path) -> None:
    """Run the wheel's tests on what was built."""
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/release/test_wheel.py"]
    step("the wheel's tests", sys.executable, *tests, environment={"LLMREC_DIST": str(folder)})


def keep(built: list[Path], folder: Path) -> Path:
    """Copy what was built into a folder, which git ignores."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in built:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def step(name: str, *command: str, environment: dict[str, str] | None = None) -> None:
    """Run a command in the checkout; where it fails, what it printed is passed on."""
    print(f"{name} …", file=sys.stderr, flush=True)
    changed = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})}
    done = subprocess.run(command, cwd=ROOT, env=changed, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        raise RefusalError(f"{name} failed, as printed above")


def git(*arguments: str) -> str:
    """What git prints."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RefusalError(f"git {arguments[0]}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
