"""Pages of the site about `llmrec`: what its commands print for --help, one page for each group of them."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

import typer

from llmrec_peft.cli import command as panels
from llmrec_peft.cli.main import app

GROUPS = {
    "train": panels.TRAIN,
    "use": panels.USE,
    "serve": panels.SERVE,
    "share": panels.SHARE,
    "measure": panels.COMPARE,
    "recipes": panels.RECIPES,
    "look": panels.LOOK,
}
"""Names of the pages, and the panels of ``llmrec --help`` that they show."""
_TERMINAL = {"COLUMNS": "84", "TERMINAL_WIDTH": "84", "NO_COLOR": "1", "TERM": "dumb"}
"""A terminal as wide as a page of the site."""


def command_pages() -> dict[str, str]:
    """Return the pages by their place in the site: ``commands/GROUP.md``."""
    program = typer.main.get_command(app)
    with mock.patch.dict(os.environ, _TERMINAL):
        return {f"commands/{name}.md": "\n".join(_group(panel, program)) for name, panel in GROUPS.items()}


def _group(panel: str, program: Any) -> Iterator[str]:
    yield from (f"# {panel}", "", "Commands of this group, with what `--help` prints.", "")
    for name, command in program.commands.items():
        if command.rich_help_panel == panel and not command.hidden:
            for words in _commands([name], command):
                yield from (f"## llmrec {' '.join(words)}", "", "```text", _help(program, words), "```", "")


def _commands(words: list[str], command: Any) -> Iterator[list[str]]:
    """Yield the words of a command, then of those in its group."""
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands([*words, name], inner)


def _help(program: Any, words: list[str]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        program.main([*words, "--help"], prog_name="llmrec", standalone_mode=False)
    return "\n".join(line.rstrip() for line in printed.getvalue().strip("\n").splitlines())
