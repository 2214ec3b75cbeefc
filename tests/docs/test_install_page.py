"""docs/install.md names extras and commands that the package has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_extras_that_are_named_are_there() -> None:
    table = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    named = {name for cell in table for name in re.findall(r"`(\w+)`", cell)}
    named |= {name for names in re.findall(r"llmrec-peft\[([\w,]+)\]", PAGE) for name in names.split(",")}
    assert {"minilm", "serving", "all"} <= named
    assert named <= set(PROJECT["optional-dependencies"])


def test_the_command_that_uvx_runs_is_another_name_of_llmrec() -> None:
    scripts = PROJECT["scripts"]
    assert scripts["llmrec-peft"] == scripts["llmrec"]
    assert "uvx llmrec-peft doctor" in PAGE


def test_python_and_torch_are_those_that_the_metadata_asks_for() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    assert PAGE.split("\n\n")[1].startswith("Python 3.11 or newer")
    [torch] = [name for name in PROJECT["dependencies"] if re.match(r"torch\b", name)]
    assert torch == "torch>=2.9"
    assert "asks for 2.9 or newer" in PAGE
