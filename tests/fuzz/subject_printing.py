"""Hostile texts through every printer: tables, lines, errors, notes, bars, JSON, Markdown and model cards."""

from __future__ import annotations

import contextlib
import io
import json
import random
import unicodedata
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from fuzz.harness import Attempt
from llmrec_peft import progress
from llmrec_peft.benchmark.markdown import paragraph, table
from llmrec_peft.cli.output import print_json, print_line, print_note, print_table, print_text
from llmrec_peft.errors import InputError
from llmrec_peft.printable import for_html, for_json, for_markdown, for_terminal
from llmrec_peft.recipe.yaml_file import dump_yaml, parse_yaml

_PIECES = (
    "Heat", " ", "(1995)", "\x1b[2J", "\x1b[31m", "\x1b]0;t\x07", "\x1b]8;;http://e\x1b\\", "\x1b", "\x9b31m",
    "\x9d0;x\x9c", "\x90", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\u2028", "\x85", "\n", "\r", "\t",
    "\0", "\x7f", "\x08", "\ud83d", "\ude00", "😀", "é", "漢字", "e\u0301", "[/x]", "[bold red]", "[feat. X]",
    "[link=a]", ":bomb:", "|", "\\", "`", "*", "_", "#", "<b>", "&lt;", "](http://e)", "![", "~~", "$", "---",
    "1. ", "- ", "{{ x }}", "{% x %}", "%s", "{0}", "\U000e0041", "\U0010ffff", "\ue000",
)  # fmt: skip
_STEERING = {"\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Yield texts; every third one is refused, as the message of an error would be."""
    while True:
        text = "".join(rng.choice(_PIECES) for _ in range(rng.choice((1, 3, 8, 20, 60))))
        if rng.random() < 0.2:
            text = "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(40)))
        width = rng.choice((20, 60, 200))
        yield Attempt(f"{text[:200]!r} at {width}", partial(_print, text, width))
        if rng.random() < 0.3:
            yield Attempt(f"error {text[:200]!r}", partial(_refuse, text))


def _refuse(text: str) -> None:
    error = InputError(f"no item {text}")
    _require_harmless(str(error), lines=False)
    raise error


def _print(text: str, width: int) -> None:
    out, err, terminal = io.StringIO(), io.StringIO(), io.StringIO()
    consoles = progress.console, Console(file=err, highlight=False, soft_wrap=True, width=width)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        progress.console = consoles[1]
        try:
            print_table(text, ["item", text], [["1", text], [text, "2"]], [1])
            print_line(text)
            print_text(text)
            print_note(text)
            progress.note(text)
            progress.warn(text)
            print_json({text: text})
            progress.console = Console(file=terminal, force_terminal=True, width=width, color_system=None)
            with progress.bar(text, 2) as shown:
                shown.advance(text=text)
        finally:
            progress.console = consoles[0]
    for printed in (out.getvalue(), err.getvalue()):
        _require_harmless(printed)
        printed.encode("utf-8")
    plain = for_terminal(text)
    assert for_terminal(plain) == plain, "a printable text is not printable"
    for shown_text in (plain, for_markdown(text), for_html(text)):
        _require_harmless(shown_text, lines=False)
    paired = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # two halves are one in JSON
    assert json.loads(for_json([text])) == [paired], "JSON is another text"
    _markdown(text)
    _yaml(text)


def _markdown(text: str) -> None:
    cell = for_markdown(text)
    for mark in "<>[]`|*~$":
        assert cell.count(mark) == cell.count(f"\\{mark}"), f"{mark} is active"
    lines = table(["model", cell or "x"], [[cell, "1"]])
    assert len(lines) == 3, "a cell breaks its table"
    assert len({line.replace("\\\\", "").count("|") - line.replace("\\\\", "").count("\\|") for line in lines}) == 1
    _require_harmless(paragraph(text))


def _yaml(text: str) -> None:
    with contextlib.suppress(InputError):  # control characters and halves of characters are no text of a recipe
        written = dump_yaml({"a": text})
        _require_harmless(written)
        assert parse_yaml(written, "x") == {"a": text}, "YAML is another text"


def _require_harmless(text: Any, lines: bool = True) -> None:
    for letter in text:
        if letter == "\n" and lines:
            continue
        assert unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp"), f"{letter!r} is printed"
        assert letter not in _STEERING, f"{letter!r} is printed"
