"""Board: what a terminal shows while cells run, and the lines where there is none."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from llmrec_peft import progress
from llmrec_peft.benchmark.board import Board


def process(title: str, seconds: float, megabytes: float) -> Any:
    return SimpleNamespace(cell=SimpleNamespace(title=title), seconds=seconds, peak=int(megabytes * 2**20))


def lines(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def written(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> Console:
    """A console that writes into memory, in the place of stderr."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, highlight=False, color_system=None)
    monkeypatch.setattr(progress, "console", console)
    return console


def test_without_a_terminal_each_event_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    console = written(False, monkeypatch)
    with Board(4, 1, True, console) as board:
        board.started(process("films lora", 0.0, 0))
        board.update([process("films lora", 3.0, 100)])
        board.finished(process("films lora", 75.2, 812.4), {"status": "ok"})
        board.started(process("films ia3", 0.0, 0))
        board.finished(process("films ia3", 5.0, 90), {"status": "failed", "reason": "over 5 s"})
    assert lines(console) == [
        "films lora: started (1 of 4 cells are done)",
        "films lora: done (1 min 15 s, 812 MiB)",
        "films ia3: started (2 of 4 cells are done)",
        "films ia3: failed: over 5 s (5 s, 90 MiB)",
    ]


def test_a_terminal_shows_a_bar_and_each_running_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    console = written(True, monkeypatch)
    with Board(4, 1, True, console) as board:
        board.update([process("films lora", 3.0, 100), process("films \x1b[31mia3", 65.0, 2048)])
        board._live.refresh()  # type: ignore[union-attr]
        drawn = "\n".join(lines(console))
        board.finished(process("films lora", 4.0, 100), {"status": "ok"})
    assert "1/4" in drawn
    assert "films lora" in drawn
    assert "1 min 5 s, 2,048 MiB" in drawn
    assert "\x1b[31m" not in drawn, "what a title holds is no command to the terminal"
    assert "films lora: done (4 s, 100 MiB)" in "\n".join(lines(console))


def test_a_board_that_is_not_to_be_shown_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal in (True, False):
        console = written(terminal, monkeypatch)
        with Board(2, 0, False, console) as board:
            board.started(process("films", 0.0, 0))
            board.update([process("films", 1.0, 0)])
            board.finished(process("films", 1.0, 0), {"status": "ok"})
        assert lines(console) == []
