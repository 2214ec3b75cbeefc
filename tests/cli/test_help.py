"""Help of every command: nothing is missing, nothing is lost on the way to the terminal."""

from __future__ import annotations

import inspect
import re
import shlex
from typing import Any

import pytest
import typer

from llmrec_peft.cli.main import app, main

GROUP: Any = typer.main.get_command(app)
GROUPS: dict[str, Any] = {name: command for name, command in GROUP.commands.items() if hasattr(command, "commands")}
COMMANDS: dict[str, Any] = {name: command for name, command in GROUP.commands.items() if name not in GROUPS}
COMMANDS |= {f"{name} {below}": command for name, group in GROUPS.items() for below, command in group.commands.items()}


@pytest.fixture
def help_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The help of a command as a terminal of a given width shows it."""

    def shown(*command: str, width: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*command, "--help"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    return shown


def words(text: str) -> str:
    """Text without frames and line breaks."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_parameter_has_a_help_that_is_shown_whole(name: str, help_of: Any) -> None:
    out = words(help_of(*name.split(), width=300))
    for parameter in COMMANDS[name].params:
        assert parameter.help, parameter.name
        written = parameter.help.replace("\\[", "[")
        assert words(written) in out, parameter.name
        assert written[0].isupper() or written.startswith("adapters"), written
        assert written.endswith("."), written


@pytest.mark.parametrize("name", COMMANDS)
def test_options_show_their_defaults(name: str, help_of: Any) -> None:
    out = words(help_of(*name.split(), width=300))
    for parameter in COMMANDS[name].params:
        if isinstance(parameter.show_default, str):
            assert f"[default: ({parameter.show_default})]" in out
        elif parameter.default is not None and not getattr(parameter, "is_flag", False):
            assert f"[default: {getattr(parameter.default, 'value', parameter.default)}]" in out, parameter.name


@pytest.mark.parametrize("name", COMMANDS)
def test_first_line_is_a_sentence_and_the_last_are_examples(name: str, help_of: Any) -> None:
    out = help_of(*name.split())
    assert max(map(len, out.splitlines())) <= 80
    first = COMMANDS[name].help.split("\n\n")[0]
    assert re.fullmatch(r"[A-Z][a-z]+ [^`]+\.", first), first
    assert words(first) in words(out)
    prose, _, examples = out.partition("\nExamples:\n")
    assert prose
    shown = "memory" if name == "fit" else name
    assert examples.strip(), "an example"
    for line in examples.strip().splitlines():
        assert line.strip().startswith(f"llmrec {shown}"), line


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_commands_that_the_parser_takes(name: str) -> None:
    documented = inspect.getdoc(COMMANDS[name].callback) or ""
    for line in documented.partition("Examples:\n")[2].strip().splitlines():
        arguments = shlex.split(line)[1 + len(name.split()) :]
        context = COMMANDS[name].make_context(name, list(arguments))
        assert context.params


def test_square_brackets_are_shown() -> None:
    """The common mistake: a text in brackets is taken for markup and vanishes."""
    from rich.console import Console
    from rich.text import Text

    from llmrec_peft.cli.command import Command

    with Console(width=80).capture():
        command = Command("x", help="Write [default: here] and [bold].", params=[])
    assert Text.from_markup(command.help or "").plain == "Write [default: here] and [bold]."


def test_flags_name_no_value(help_of: Any) -> None:
    for name in ("", *GROUPS, *COMMANDS):
        assert "<bool>" not in help_of(*name.split())


def test_commands_stand_in_groups_and_the_old_name_is_hidden(help_of: Any) -> None:
    out = help_of()
    for panel in ("Train", "Use a run", "Serve runs", "Measure and compare", "Recipes and data", "Look around"):
        assert f"─ {panel} ─" in out
    assert "─ Commands ─" not in out
    listed = {line.split()[1] for line in out.splitlines() if re.match(r"│ [a-z]", line)}
    assert listed == set(GROUP.commands) - {"fit"}


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_lists_its_commands(name: str, help_of: Any) -> None:
    out = help_of(name)
    assert max(map(len, out.splitlines())) <= 80
    assert {line.split()[1] for line in out.splitlines() if re.match(r"│ [a-z]", line)} == set(GROUPS[name].commands)
    assert f"Start here: llmrec {name} " in out


def test_no_command_speaks_in_private_words() -> None:
    private = re.compile(r"\bthe line\b|trivial line|beyond doubt|\btold\b|\bmet\b|\bheld\b|\bwording\b", re.IGNORECASE)
    for name, command in COMMANDS.items():
        texts = [command.help, *(parameter.help for parameter in command.params)]
        assert not [text for text in texts if private.search(text or "")], name
