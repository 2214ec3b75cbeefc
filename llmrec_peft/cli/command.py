"""What the help of every command has in common: texts as written, flags without a value, examples at the end."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from llmrec_peft.cli.parameters import NamedRun
from llmrec_peft.printable import say

TRAIN = "Train"
USE = "Use a run"
SERVE = "Serve runs"
SHARE = "Share runs"
COMPARE = "Measure and compare"
LOOK = "Look around"
RECIPES = "Recipes and data"
"""Panels of ``llmrec --help``."""

_EXAMPLES = "\nExamples:\n"


class Command(TyperCommand):
    """A command whose help is made of its function's docstring.

    Square brackets in help texts are shown, not taken for markup; paragraphs fill the terminal's width; the lines
    below ``Examples:`` are printed last and as they are, so that they can be copied.
    """

    def __init__(self, *args: Any, help: str | None = None, **kwargs: Any) -> None:
        text, _, examples = inspect.cleandoc(help or "").partition(_EXAMPLES)
        paragraphs = (" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))
        super().__init__(*args, help=escape("\n\n".join(paragraphs)), **kwargs)
        self.examples = inspect.cleandoc(examples).splitlines()
        for parameter in self.params:
            described = getattr(parameter, "help", None)
            if isinstance(described, str):
                parameter.help = escape(described)  # type: ignore[attr-defined]

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters; flags take no value, so none is named behind them."""
        return _without_values_of_flags(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run the command with the folders of the runs that were named; those of the Hub are fetched first."""
        for name, value in ctx.params.items():
            if isinstance(value, NamedRun):
                ctx.params[name] = _folder(value)
        return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, and leave the examples to be printed after it."""
        super().format_help(ctx, formatter)
        if self.examples:
            formatter.write("Examples:\n" + "".join(f"  {line}\n" for line in self.examples))


class Commands(TyperGroup):
    """Commands together: all of them, or those that share a first word."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters; flags take no value, so none is named behind them."""
        return _without_values_of_flags(super().get_params(ctx))


class CommandsWithDefault(Commands):
    """Commands together, one of which is meant where none is named, as ``llmrec bench MATRIX.yaml``."""

    default = ""

    @classmethod
    def of(cls, name: str) -> type[CommandsWithDefault]:
        """Return such a group whose default is the command of this name."""
        return type("CommandsWithDefault", (cls,), {"default": name})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default's name before arguments that begin with neither a command nor a call for help."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


class Renamed(Command):
    """The old name of a command: it still works, and says on stderr what the command is called now."""

    new_name = ""

    def invoke(self, ctx: Any) -> Any:
        """Say the new name, then do the command's work."""
        say(f"llmrec {self.name} is now llmrec {self.new_name}; the old name goes in a later release")
        return super().invoke(ctx)


def _folder(run: NamedRun) -> Path:
    """Return the folder of a run; the client of the Hub is imported for what is no path here alone."""
    if os.path.lexists(run):
        return Path(run)
    from llmrec_peft.artifact.fetched import run_folder

    return run_folder(run)


def _without_values_of_flags(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters
