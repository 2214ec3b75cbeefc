"""What is printed is text: nothing of a stranger's steers a terminal, is taken for markup, or ends in a traceback."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import llmrec_peft
from llmrec_peft import progress
from llmrec_peft.artifact.card import model_card
from llmrec_peft.benchmark.markdown import paragraph, table
from llmrec_peft.cli.output import print_json, print_line, print_note, print_table, print_text
from llmrec_peft.errors import InputError
from llmrec_peft.printable import for_html, for_markdown, for_terminal, one_line, write_text
from llmrec_peft.recipe import load_recipe

ROOT = Path(llmrec_peft.__file__).parents[1]
HOSTILE = {
    "clears the screen": "Foo \x1b[2J\x1b[Hbar",
    "sets the window's title": "Foo \x1b]0;owned\x07 bar",
    "links elsewhere": "\x1b]8;;http://evil\x1b\\Foo\x1b]8;;\x1b\\ bar",
    "eight-bit sequences": "Foo \x9b31mbar \x9d0;owned\x9c",
    "sequence without an end": "Foo \x1b]0;never ends",
    "turned around": "Foo \u202egnp.exe \u2066bar\u2069",
    "not seen": "Foo\u200b\u2060\ufeff bar",
    "line ends": "Foo\nbar\r\nbaz\u2028x\x85y\x0bz",
    "deletes": "Foo\x7f\x08\x08\x08bar\x00",
    "half a character": "Foo \ud83d bar",
    "closing tag": "Foo [/bar] baz",
    "opening tag": "Song [feat. X] [bold red]danger",
    "a link as markup": "[link=http://evil]Foo[/link]",
    "an emoji's name": ":bomb: Foo",
    "Markdown": "# *Foo* | `x` <script>alert(1)</script> [a](http://evil) ![i](http://evil) ~~b~~ $x$ &lt;",
}
texts = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


def harmless(text: str, lines: bool = True) -> bool:
    """Whether no character steers a terminal, apart from line ends of our own."""
    bidirectional = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return not any(
        (unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") and not (lines and letter == "\n"))
        or letter in bidirectional
        for letter in text
    )


@texts
def test_a_text_becomes_one_harmless_line(text: str) -> None:
    for shown in (for_terminal(text), for_markdown(text), for_html(text), one_line(text), str(InputError(text))):
        assert harmless(shown, lines=False)
        assert "Foo" in shown or "Song" in shown
    assert "owned" not in for_terminal(text)


@texts
def test_every_printer_shows_it_and_obeys_nothing(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "console", Console(stderr=True, highlight=False, soft_wrap=True))
    print_table(text, ["item", text], [["1", text], [text, "2"]])
    print_line(text)
    print_text(text)
    print_note(text)
    print_json({text: [text]})
    progress.note(text)
    progress.warn(text)
    with progress.bar(text, 2) as shown:
        shown.advance(text=text)
    printed = capsys.readouterr()
    assert harmless(printed.out)
    assert harmless(printed.err)
    for part in ("[/bar]", "[feat. X]", "[bold red]danger", "[link=http://evil]", ":bomb:"):
        if part in text:
            assert printed.out.count(part) >= 5
            assert printed.err.count(part) == 3


@texts
def test_bars_on_a_terminal_take_no_markup(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=300, color_system=None)
    monkeypatch.setattr(progress, "console", console)
    with progress.bar(text, 2) as shown:
        shown.advance(text=text)
    for part in ("[/bar]", "[feat. X]", "[link=http://evil]"):
        if part in text:
            assert part in written.getvalue()
    assert "owned" not in written.getvalue()
    assert "\u202e" not in written.getvalue()


def test_json_is_exact_and_strict(capsys: pytest.CaptureFixture[str]) -> None:
    values = {**HOSTILE, "nan": float("nan"), "far": [float("inf"), 1.5, "é"]}
    print_json(values)
    printed = capsys.readouterr().out
    assert harmless(printed)
    assert "é" in printed
    read = json.loads(printed, parse_constant=pytest.fail)
    assert {name: read[name] for name in HOSTILE} == HOSTILE
    assert (read["nan"], read["far"]) == (None, [None, 1.5, "é"])


@texts
def test_markdown_shows_a_text_and_nothing_else(text: str) -> None:
    cell = for_markdown(text)
    for mark in ("<", ">", "[", "]", "`", "|", "*", "~", "$"):
        assert cell.count(mark) == cell.count(f"\\{mark}")
    assert not cell.startswith("#")
    lines = table(["model", "value"], [[cell, "1"], [f"**{cell}**", "2"]])
    assert len(lines) == 4
    assert len({line.count("|") - line.count("\\|") for line in lines}) == 1
    assert harmless("\n".join(lines))
    assert harmless(paragraph(text))


def test_plain_names_stay_as_they_are() -> None:
    for name in (
        "log_loss",
        "hr@10",
        "user mean ▼",
        "rank=4",
        "a-b (c), d: 1.5 ± 0.2",
        "50% off!",
        "C:\\x".replace("\\", "/"),
    ):
        assert for_markdown(name) == name
        assert for_terminal(name) == name


@texts
def test_a_model_card_holds_a_strangers_words_as_text(text: str) -> None:
    metrics = json.loads(_METRICS)
    metrics["base"]["name"] = metrics["data"]["name"] = metrics["data"]["licence"] = text
    metrics["hardware"]["processor"] = text
    recipe = load_recipe("movies", changes={"description": text.replace("\x00", "").encode("utf-8", "ignore").decode()})
    card = model_card(recipe, metrics)
    assert harmless(card)
    front, body = card.split("---\n", 2)[1:]
    assert "library_name: peft" in front
    assert "<script>" not in body
    assert "](http" not in body.replace("\\]", "")


def test_an_unencodable_answer_is_escaped_not_a_traceback() -> None:
    for encoding in ("ascii", "cp1252", "latin-1"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        write_text("Amélie ▼ \U0001f600\n", stream)
        stream.flush()
        assert b"\\u25bc" in stream.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}])
def test_commands_work_where_the_terminal_is_not_utf8(environment: dict[str, str], tmp_path: Path) -> None:
    for arguments in (
        ["list", "adapters"],
        ["list", "--json"],
        ["validate", "\u25bc.yaml"],
        ["show", "recipe", "movies"],
    ):
        done = command(arguments, **environment)
        assert b"Traceback" not in done.stderr, done.stderr
        assert done.returncode == (2 if arguments[0] == "validate" else 0)
    json.loads(command(["list", "--json"], **environment).stdout)


def test_a_name_that_is_no_utf8_is_one_line() -> None:
    done = command([b"validate", b"caf\xe9 \x1b[2J[/x].yaml"])
    assert done.returncode == 2
    assert done.stderr == b"error: no recipe file caf\xef\xbf\xbd [/x].yaml\n"


def test_a_closed_pipe_is_no_traceback() -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "llmrec_peft.cli.main", "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    said = running.stderr.read()
    running.wait(timeout=60)
    assert said == b""


def command(arguments: list[Any], **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "llmrec_peft.cli.main", *arguments],
        env={**os.environ, "COLUMNS": "100", **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_a_user_id_of_markup_is_shown(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from llmrec_peft.cli.main import main

    with pytest.raises(SystemExit) as ended:
        main(["recommend", str(tiny_run), "--user", "[/x]\x1b[2J[bold]"])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    assert "[/x][bold]" in printed.out + printed.err
    assert harmless(printed.out + printed.err)


PRINTERS = {
    *("printable.py", "progress.py", "cli/output.py", "testing/tables.py"),
    *("benchmark/board.py", "benchmark/sampler.py"),  # draws with `progress.console`; tells numbers to its parent
}
"""The only modules that write to a stream; all others call them."""
OWN_TEXTS = {"cli/command.py"}
"""Uses the library of the terminal for our own help texts."""


def test_nothing_else_prints() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for folder in ("llmrec_peft", "adapters", "recipes")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if str(path.relative_to(ROOT / folder)) not in PRINTERS
        for line, what in prints(path, str(path.relative_to(ROOT / folder)) in OWN_TEXTS)
    ]
    assert found == []


def prints(path: Path, help_texts: bool) -> Iterator[tuple[int, str]]:
    """Yield the places of a module that write to a terminal by themselves."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom) and not help_texts:
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            if any(module.split(".")[0] in ("rich", "click", "termcolor", "colorama") for module in modules):
                yield node.lineno, f"imports {modules[0]}"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in _PRINTS or called.startswith(_BEGINS) or called.endswith(_ENDS):
            yield node.lineno, called


_PRINTS = ("print", "pprint", "input", "traceback.print_exc", "traceback.print_exception")
_BEGINS = ("typer.echo", "typer.secho", "click.", "sys.stdout.write", "sys.stderr.write")
_ENDS = ("console.print", ".stdout.writelines", ".stderr.writelines", ".stdout.buffer.write")


def test_a_module_that_prints_by_itself_is_found(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("import typer, sys, rich\nprint(1)\ntyper.echo('x')\nsys.stdout.write('x')\nconsole.print('x')\n")
    assert [line for line, _ in prints(path, False)] == [1, 2, 3, 4, 5]


_METRICS = """
{"recipe": "movies", "seed": 1, "primary_metric": "rmse", "best_baseline": "bias", "no_better_than_best_baseline": [],
 "blend_share_of_best_baseline": 0.5, "valid": {"baselines": {"bias": {"rmse": 1.0}}, "after": {"rmse": 1.0}},
 "test": {"baselines": {"bias": {"rmse": 1.0}}, "after": {"rmse": 1.0}},
 "base": {"name": "b", "revision": null, "weights_sha256": "0123456789abcdef0", "quantization": "none",
          "compute": "fp32"},
 "versions": {"llmrec-peft": "0"}, "parameters": {"total": 1, "trainable": 1, "adapter": 1},
 "data": {"name": "d", "users": 1, "items": 1, "train": 1, "valid": 1, "test": 1, "licence": "l"},
 "training": {"epochs": 1}, "seconds": {"train": 1.0}, "hardware": {"cuda": null, "processor": "p"}}
"""
