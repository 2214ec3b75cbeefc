"""Doors: what examples and documents show imports the two promised modules alone; CONTRIBUTING.md knows every room."""

from __future__ import annotations

import ast
import importlib
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOORS = {"llmrec_peft", "llmrec_peft.plugins"}
OURS = {"llmrec_peft", "llmrec_adapters", "llmrec_recipes"}
DOCUMENTS = ("CONTRIBUTING.md", "README.md", "examples/plugin/README.md")
INSIDE = "ray_serve"
"""An example of a server made of the server's parts, which promise nothing yet; its own tests hold it."""
EXAMPLES = sorted(file for file in (ROOT / "examples").rglob("*.py") if file.parent.name != INSIDE)


def blocks(document: str, language: str) -> list[str]:
    """Fenced blocks of a document in a language."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(code) for _, code in found]


def imported(code: str) -> Iterator[tuple[str, str]]:
    """Modules of this project that code imports, each with the name that is taken from it, or an empty one."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.partition(".")[0] in OURS)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in OURS:
            yield from ((node.module, alias.name) for alias in node.names)


def require_promised(code: str) -> None:
    for module, name in imported(code):
        assert module in DOORS, f"imports {module}, which promises nothing"
        if name and not (module == "llmrec_peft" and name == "plugins"):
            assert name in importlib.import_module(module).__all__, f"{module} does not promise {name}"


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: path.stem)
def test_examples_import_what_is_promised_alone(file: Path) -> None:
    require_promised(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_show_imports_of_what_is_promised_alone(document: str) -> None:
    for code in blocks(document, "python"):
        require_promised(code)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_run_no_module_but_the_conformance_suite(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    run = set(re.findall(r"python -m (llmrec\S+)", text))
    assert {module.strip("`.,;:") for module in run} <= {"llmrec_peft.testing"}


def test_an_import_past_the_doors_is_found() -> None:
    """The tests above could pass for want of imports to look at."""
    for code in ("from llmrec_peft.run.recommender import Recommender", "import llmrec_adapters.lora"):
        with pytest.raises(AssertionError, match="promises nothing"):
            require_promised(code)
    with pytest.raises(AssertionError, match="does not promise registry"):
        require_promised("from llmrec_peft import registry")
    shown = [one for document in DOCUMENTS for code in blocks(document, "python") for one in imported(code)]
    assert len([one for one in shown if one[0] in DOORS]) > 5
    assert len([one for file in EXAMPLES for one in imported(file.read_text(encoding="utf-8"))]) > 5


def test_contributing_has_a_row_for_every_room_from_the_ground_up() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("## Where a fix goes")[1].split("\n## ")[0]
    rows = re.findall(r"^\|[^|]*\| `(\w+)/` \|$", table, re.MULTILINE)
    package = ROOT / "llmrec_peft"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    assert set(rows) == rooms
    loose = {path.name for path in package.glob("*.py")} - {"__init__.py", "plugins.py"}
    assert loose == set(re.findall(r"`(\w+\.py)`", table))
    assert "](docs/architecture.md)" in table


def test_links_of_contributing_lead_somewhere() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", prose)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
    files = re.findall(r"`((?:llmrec_peft|adapters|recipes|examples|docs|tests)/[\w./]+)`", prose)
    assert len(files) > 5
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_hooks_before_a_commit_are_those_of_make_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in hooks["repos"]] == ["local"]
    commands = {hook["entry"] for repository in hooks["repos"] for hook in repository["hooks"]}
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nlint:")[1].split("\n\n")[0]
    assert commands == {line.strip().replace("$(BIN)", ".venv/bin") for line in lint.splitlines()[1:]}
