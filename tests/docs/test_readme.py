"""What README.md shows can be run: its Python block, and every `llmrec` and `make` line of the documentation."""

from __future__ import annotations

import random
import re
import shlex
import subprocess
from collections.abc import Callable
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
    blocks = (block.replace("\\\n", " ") for block in SHELL.findall(page.read_text(encoding="utf-8")))
    lines = [line for block in blocks for line in block.splitlines()]
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
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    shown = {(page.name, words[1]) for page in pages for words in commands(page) if words[0] == "make"}
    shown |= {(page.name, name) for page in pages for name in re.findall(r"`make ([a-z-]+)", page.read_text("utf-8"))}
    assert {("README.md", "demo"), ("README.md", "test")} <= shown
    assert [(page, target) for page, target in sorted(shown) if target not in targets] == []


def write_own_data(folder: Path) -> None:
    """Write the two files that README.md names."""
    draw = random.Random(0)
    films = [f"f{at}" for at in range(30)]
    rows = [f"u{user},{film},{draw.randint(1, 5)}" for user in range(20) for film in draw.sample(films, 12)]
    (folder / "ratings.csv").write_text("\n".join(["user,film,stars", *rows]) + "\n", encoding="utf-8")
    rows = [f"{film},The {draw.choice(['old', 'new'])} harbour {at},{1960 + at}" for at, film in enumerate(films)]
    (folder / "films.csv").write_text("\n".join(["film,title,year", *rows]) + "\n", encoding="utf-8")


@pytest.mark.trains
def test_python_block_trains_and_recommends(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block, served = PYTHON.findall(README)
    assert len([line for line in block.splitlines() if line.strip()]) <= 11
    recipe_of = llmrec_peft.Dataset.recipe

    def small_recipe(data: llmrec_peft.Dataset) -> Any:
        small = {"backbone.name": str(tiny_backbone), "training.epochs": 1, "training.refit": False}
        return recipe_of(data, {**small, "evaluation.bootstrap": 0})

    monkeypatch.setattr(llmrec_peft.Dataset, "recipe", small_recipe)
    monkeypatch.chdir(tmp_path)
    write_own_data(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102  a block of ours, run as a reader would
    printed = capsys.readouterr().out
    assert (tmp_path / "runs" / "frames" / "manifest.json").is_file()
    recommender = names["recommender"]
    assert recommender.metrics["test"]["after"]["rmse"] > 0.0
    assert len(recommender.recommend(["u1"], k=5)[0].items) == 5
    assert "interactions, rating: column 'stars'" in printed
    assert printed.count("\n") >= 10
    run = str(tmp_path / "runs" / "frames")
    exec(compile(served.replace("runs/shops/a", run).replace("user 7", "u1"), "README.md", "exec"), names)  # noqa: S102
    assert len(names["answer"].items) == 5
    assert names["engine"].audit(names["answer"]).same


@pytest.mark.trains
def test_four_commands_make_a_recommender_of_two_files(
    llmrec: Callable[..., subprocess.CompletedProcess[str]], tiny_backbone: Path, tmp_path: Path
) -> None:
    write_own_data(tmp_path)
    own = [words for words in commands(ROOT / "README.md") if "custom" in words or "runs/mine" in words]
    assert [words[1] for words in own] == ["init", "train", "recommend", "report"]
    small = [f"backbone.name={tiny_backbone}", "training.epochs=1", "training.refit=false", "evaluation.bootstrap=0"]
    for _, *words in own:
        more = [part for change in small for part in ("--set", change)] if words[0] == "train" else []
        done = llmrec(*words, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        if words[0] == "recommend":
            assert done.stdout.count("harbour") == 5, done.stdout
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) == 1
    assert "rmse" in pages[0].read_text(encoding="utf-8").lower()
