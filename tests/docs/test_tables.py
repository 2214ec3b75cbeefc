"""The tables of figures in README.md and docs/ are those of the committed results."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmrec_peft import registry

pytestmark = pytest.mark.trains

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[([\w.-]+)\]\((recipes/[^)]+)\)")


def check(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, root / "docs" / "make_tables.py", "--check"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """README, docs and results apart from the repository."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copytree(ROOT / "benchmarks" / "results", tmp_path / "benchmarks" / "results")
    for page in ("README.md", "SECURITY.md"):
        shutil.copy(ROOT / page, tmp_path)
    return tmp_path


def test_tables_are_those_of_the_committed_results() -> None:
    done = check(ROOT)
    assert done.returncode == 0, done.stderr


def test_a_changed_figure_is_noticed_and_written_anew(copy: Path) -> None:
    page = copy / "docs" / "results.md"
    right = page.read_text(encoding="utf-8")
    page.write_text(right.replace("| bias model | 0.9397 |", "| bias model | 0.9396 |"), encoding="utf-8")
    assert page.read_text(encoding="utf-8") != right
    stale = check(copy)
    assert (stale.returncode, stale.stderr.split(":")[0]) == (1, "docs/results.md")
    subprocess.run([sys.executable, copy / "docs" / "make_tables.py"], check=True, timeout=60)
    assert page.read_text(encoding="utf-8") == right


def test_an_unknown_table_is_named(copy: Path) -> None:
    readme = copy / "README.md"
    text = readme.read_text(encoding="utf-8").replace("<!-- table: six-rows -->", "<!-- table: seven-rows -->")
    readme.write_text(text, encoding="utf-8")
    done = check(copy)
    assert done.returncode == 1
    assert "no table seven-rows" in done.stderr


def test_the_table_of_recipes_names_every_shipped_one_and_what_was_not_run() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("<!-- table: recipes -->")[2].partition("<!-- end of table -->")[0].splitlines()
    rows = {line.split("[")[1].split("]")[0]: line for line in table if line.startswith("| [")}
    (others,) = (line for line in table if line.startswith("Not run here: "))
    pages = {name: page for line in [*rows.values(), others] for name, page in LINK.findall(line)}
    assert sorted(pages) == sorted(
        name for name, one in registry.plugins("recipes").items() if one.package.startswith("llmrec-peft ")
    )
    assert "movies-7b" not in rows
    assert "0.8856 ± 0.0005" in rows["movies"]
    for name, page in pages.items():
        assert (ROOT / page).parent == registry.get("recipes", name).parent
