"""`llmrec parity`: exit codes and JSON for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmrec_peft.cli.main import main


def code(*arguments: object) -> object:
    """Exit code of the command, in this process: the libraries' start would take most of the test."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def test_parity_exits_0_within_1_beyond_the_tolerance_2_for_wrong_input(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code("parity", tiny_run, "--limit", 8, "--precision", "fp32", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["within"] is True
    assert report["ways"]["serving"]["compute"] == "fp32"
    assert code("parity", tiny_run, "--limit", 8, "--quantization", "nf4", "--tolerance", 0) == 1
    assert "beyond the tolerance" in capsys.readouterr().out
    assert code("parity", tiny_run.parent) == 2
    wrong = capsys.readouterr().err
    assert wrong.startswith(f"error: {tiny_run.parent} is no run folder")
    assert len(wrong.splitlines()) == 1
