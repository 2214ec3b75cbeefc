"""What README.md shows can be run: its Python block, and every `llmrec` and `make` line of the documentation."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

import llmrec_peft
from llmrec_peft.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PLACEHOLDERS = {"RUN": "run", "FIELD=VALUE": "seed=1"}


def commands(page: Path) -> list[list[str]]:
    """The commands of a page's shell blocks as words, comments left out."""
    lines = [line for block in SHELL.findall(page.read_text(encoding="utf-8")) for line in block.splitlines()]
    return [words for line in lines for part in line.split("&&") if (words := shlex.split(part, comments=True))]


def parse(words: list[str]) -> None:
    """Parse the words after `llmrec` as the command would, without running it."""
    group: Any = typer.main.get_command(app)
    name, *arguments = words
    assert name in group.commands, f"there is no command `llmrec {name}`"
    with group.commands[name].make_context(name, [PLACEHOLDERS.get(word, word) for word in arguments]):
        pass


LLMREC = [
    pytest.param(words[1:], id=f"{page.stem}: {' '.join(words[1:])}")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for words in commands(page)
    if words[0] == "llmrec"
]


@pytest.mark.parametrize("words", LLMREC)
def test_commands_know_the_options_that_are_shown(words: list[str]) -> None:
    parse(words)


def test_an_option_that_is_unknown_does_not_parse() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(["recommend", "run", "--user", "1", "--colour", "red"])


def test_targets_of_make_that_are_shown_are_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    shown = {(page.name, words[1]) for page in pages for words in commands(page) if words[0] == "make"}
    shown |= {(page.name, name) for page in pages for name in re.findall(r"`make ([a-z]+)", page.read_text("utf-8"))}
    assert {("README.md", "demo"), ("README.md", "test")} <= shown
    assert [(page, target) for page, target in sorted(shown) if target not in targets] == []


@pytest.mark.trains
def test_python_block_trains_and_recommends(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [block] = PYTHON.findall(README)
    load = llmrec_peft.load_recipe

    def load_small(source: str, **given: Any) -> Any:
        small = {"backbone.name": str(tiny_backbone), "training.epochs": 1, "training.refit": False}
        return load(source, {**small, "evaluation.bootstrap": 0, "evaluation.ablations": []}, **given)

    monkeypatch.setattr(llmrec_peft, "load_recipe", load_small)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102  a block of ours, run as a reader would
    printed = capsys.readouterr().out
    assert (tmp_path / "runs" / "movies" / "manifest.json").is_file()
    assert names["metrics"]["test"]["after"]["rmse"] > 0.0
    assert len(names["recommender"].recommend(["1"], k=5)[0].items) == 5
    assert printed.count("\n") >= 3
