"""Tables through the real command at several widths, in a pipe, and with titles that look like markup."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft import registry
from llmrec_peft.cli.figures import print_figures
from llmrec_peft.cli.output import print_line, print_table

Command = Callable[..., subprocess.CompletedProcess[str]]
COLUMNS = ["model", "valid auc", "test auc", "test uauc", "test log_loss", "after minus it, 95 %"]
NAMES = ["popularity", "without the text signal ▼"]
ROWS = [[name, "0.7012", "0.6923", "0.6514", "0.5822", "+0.012 [+0.004, +0.021]"] for name in NAMES]


def printed(capsys: pytest.CaptureFixture[str], columns: Any, rows: Any, right: Any = ()) -> list[str]:
    capsys.readouterr()
    print_table("", columns, rows, right)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_figures_fold_into_tables_that_repeat_the_first_column(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = printed(capsys, COLUMNS, ROWS, range(1, 6))
    assert max(map(len, lines)) <= width
    tables = [line for line in lines if line.startswith("model")]
    assert len(tables) == {60: 3, 80: 2, 120: 1}[width]
    assert [heading for table in tables for heading in COLUMNS[1:] if heading in table] == COLUMNS[1:]
    for name in NAMES:
        assert sum(line.startswith(name) for line in lines) == len(tables)
    for cell in ROWS[0]:
        assert any(cell in line for line in lines), cell


def test_text_breaks_between_words_and_the_first_column_never(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = "Tokens that are put before every text, each of them a vector of its own that is trained."
    lines = printed(capsys, ["option", "default", "what it does"], [["num_virtual_tokens", "20", text]])
    assert max(map(len, lines)) <= 60
    body = [line for line in lines[2:] if line]
    assert body[0].startswith("num_virtual_tokens")
    assert [word for line in body for word in line.split()] == ["num_virtual_tokens", "20", *text.split()]


def test_first_column_stays_whole_beside_a_word_longer_than_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = printed(capsys, ["option", "value"], [["num_virtual_tokens", "x" * 100]])
    assert lines[2].startswith("num_virtual_tokens  xxx")
    assert sum(line.count("x") for line in lines) == 100
    assert max(map(len, lines)) <= 60


def test_nothing_is_broken_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    text = "word " * 100 + "end"
    lines = printed(capsys, [*COLUMNS, "note"], [[*row, text] for row in ROWS], range(1, 6))
    assert len([line for line in lines if line]) == 2 + len(ROWS)
    assert lines[2].endswith(text)
    print_line(text)
    assert capsys.readouterr().out == text + "\n"


def test_brackets_emoji_codes_and_control_characters_are_shown_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, ["item", "title"], [["1", "[rec] [/red] :smile: \x1b[31mred\nline"]])
    assert "[rec] [/red] :smile: red line" in lines[2]
    print_line("\x1b]0;title\x07[bold]")
    assert capsys.readouterr().out == "[bold]\n"


def test_figures_of_all_models_are_printed_with_their_legend(
    tiny_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    metrics = json.loads((tiny_run / "metrics.json").read_text(encoding="utf-8"))
    metrics |= {"best_baseline": "bias", "no_better_than_best_baseline": ["after", "user_mean"]}
    print_figures(metrics)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "▼ no better than the best baseline, bias (rmse " in out
    for label in ("global mean ", "user mean ▼", "before: frozen text ", "after: tuned ▼"):
        assert label in out
    assert f"{metrics['test']['after']['rmse']:.4f}" in out


@pytest.mark.parametrize(("wide", "unit"), [("by_user", "user"), ("by_item", "item")])
def test_differences_have_the_wider_interval_and_name_what_is_resampled(
    wide: str, unit: str, tiny_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    metrics = json.loads((tiny_run / "metrics.json").read_text(encoding="utf-8"))
    difference = {"difference": -0.1, "low": -0.11, "high": -0.09}
    both = {"by_user": difference, "by_item": difference, wide: {"difference": -0.1, "low": -0.4, "high": 0.2}}
    metrics["comparisons"] = {"after_minus_bias": both}
    print_figures(metrics)
    out = capsys.readouterr().out
    assert f"after minus it, by {unit}" in out
    assert "-0.100 [-0.400, +0.200] =" in out
    assert f"in brackets: 95 % interval of the paired bootstrap over {unit}s, the wider of the two" in out
    assert "= no significant difference: an interval contains zero" in out
    metrics["comparisons"] = {}
    print_figures(metrics)
    assert "after minus it, by" not in capsys.readouterr().out


def test_a_difference_counts_only_if_no_interval_contains_zero(
    tiny_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    metrics = json.loads((tiny_run / "metrics.json").read_text(encoding="utf-8"))
    by_person = {"difference": -0.1, "low": -0.3, "high": -0.01}
    narrow_around_zero = {"difference": -0.1, "low": -0.2, "high": 0.001}
    metrics["comparisons"] = {
        "after_minus_bias": {"by_person": by_person, "by_item": narrow_around_zero},
        "after_minus_user_mean": {"by_person": by_person, "by_item": {**by_person, "low": -0.5}},
    }
    print_figures(metrics)
    out = capsys.readouterr().out
    assert "-0.100 [-0.300, -0.010] by person =" in out, "the narrower interval contains zero: no difference"
    assert re.search(r"-0\.100 \[-0\.500, -0\.010\] by item *$", out, re.MULTILINE)
    assert "over items or persons, the wider of the two" in out


@pytest.mark.parametrize(("parameters", "said"), [(0, "tuned: heads and signals only"), (12, "12 adapter parameters")])
def test_a_run_without_adapter_parameters_says_so(
    parameters: int, said: str, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = json.loads((tiny_run / "metrics.json").read_text(encoding="utf-8"))
    metrics["parameters"]["adapter"] = parameters
    print_figures(metrics)
    assert said in capsys.readouterr().out


CHEAP = [("list",), ("list", "adapters"), ("show", "adapter", "prefix")]


@pytest.mark.parametrize(
    ("width", "arguments"), [*((width, one) for width in ("60", "80", "120") for one in CHEAP), ("80", ("doctor",))]
)
def test_commands_keep_names_whole_at_every_width(width: str, arguments: tuple[str, ...], llmrec: Command) -> None:
    lines = llmrec(*arguments, COLUMNS=width).stdout.splitlines()
    assert max(map(len, lines)) <= int(width)
    first = {line.split("  ")[0] for line in lines}
    names = {
        "list": set(registry.plugins("signals")) | set(registry.plugins("recipes")),
        "show": {"num_virtual_tokens"},
        "doctor": {"python", "torch", "free memory", "backbone minilm"},
    }
    assert (set(registry.plugins("adapters")) if "adapters" in arguments else names[arguments[0]]) <= first


@pytest.mark.trains
def test_piped_command_prints_whole_tables(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "llmrec_peft.cli.main", "list", "adapters"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    heading = next(line for line in done.stdout.splitlines() if line.startswith("method"))
    assert heading.split("  ")[0] == "method"
    assert "enc fp32" in heading
    assert heading.endswith("mixing")


def test_recommend_and_compare_at_80_columns(tiny_run: Path, llmrec: Command) -> None:
    done = llmrec("recommend", tiny_run, "--user", "3", "-k", "5", COLUMNS="80")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert len([line for line in done.stdout.splitlines() if line]) == 1 + 2 + 5
    done = llmrec("compare", tiny_run, "--against", "baseline:bias", COLUMNS="80")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert {"first", "second", "user", "item"} <= {line.split(" ")[0] for line in lines}
