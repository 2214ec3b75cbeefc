"""Every relative link in a Markdown file leads to a file that is there, and to a heading of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
MENTION = re.compile(r"\bdocs/[\w/-]+\.md\b")


def tracked(*patterns: str) -> list[Path]:
    """Files of the repository by pattern; all that are there where it is no git checkout."""
    done = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout:
        return [path for name in done.stdout.splitlines() if (path := ROOT / name).exists()]
    folders = ("docs", "llmrec_peft", "adapters", "recipes", "examples", "benchmarks", "tests")
    found = [path for pattern in patterns for folder in folders for path in (ROOT / folder).rglob(pattern)]
    return found + [path for pattern in patterns for path in ROOT.glob(pattern)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for line in re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    ).splitlines():
        if not line.startswith("#"):
            continue
        title = line.lstrip("#").strip().lower().replace("`", "")
        anchor = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
        count = sum(one == anchor or re.fullmatch(re.escape(anchor) + r"-\d+", one) is not None for one in found)
        found.add(f"{anchor}-{count}" if count else anchor)
    return found


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    missing = []
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            missing.append(link)
    return missing


@pytest.mark.parametrize("page", tracked("*.md"), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert broken(page) == []


def test_a_missing_file_and_a_missing_heading_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# One: `two`, three\n\n## Twice\n\n## Twice\n", encoding="utf-8")
    links = [
        "there.md",
        "there.md#one-two-three",
        "there.md#twice-1",
        "https://example.org",
        "gone.md",
        "there.md#gone",
    ]
    page = tmp_path / "page.md"
    page.write_text("\n".join(f"[link]({link})" for link in links) + "\n`[code](no.md)`\n", encoding="utf-8")
    assert broken(page) == ["gone.md", "there.md#gone"]


def test_every_page_of_the_documentation_is_reached_from_its_index() -> None:
    index = ROOT / "docs" / "README.md"
    reached, waiting = {index}, [index]
    while waiting:
        page = waiting.pop()
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_relative_to(ROOT / "docs") and target not in reached:
                reached.add(target)
                waiting.append(target)
    assert set((ROOT / "docs").rglob("*.md")) - reached == set()


def test_pages_that_code_names_are_there() -> None:
    named = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in tracked("*.py", "*.yaml", "*.toml", "Makefile")
        for name in MENTION.findall(path.read_text(encoding="utf-8"))
    }
    assert [(path, name) for path, name in sorted(named) if not (ROOT / name).is_file()] == []
