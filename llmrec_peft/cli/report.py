"""`llmrec report`: the HTML page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import USE, Command
from llmrec_peft.cli.output import print_json, print_line, print_note
from llmrec_peft.errors import InputError


def report(
    run: parameters.Run,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.html", help="File to write.", show_default="RUN.html beside the run"),
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option("--user", metavar="ID", help="Also show what this user is recommended, by id; may be repeated."),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(
            "--users", metavar="FILE|-", help="Users to show, as llmrec recommend --users takes them; at most 50."
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", metavar="N", min=1, max=100, help="Recommendations of each user.")] = 10,
    no_examples: Annotated[
        bool, typer.Option("--no-examples", help="Show no recommendations, not even those of made-up data.")
    ] = False,
    overwrite: parameters.Overwrite = False,
    as_json: parameters.Json = False,
) -> None:
    """Write a run's figures, intervals, curves, slices, notes and recipe into one HTML page.

    The page needs no network and runs no script. It shows nobody's interactions; what single users are recommended is
    shown where you name them, or where the data are made up.

    Examples:
      llmrec report runs/movies-seed1
      llmrec report runs/movies-seed1 --user 1 --user 7 --out movies.html
    """
    if no_examples and (user or users is not None):
        raise InputError("--no-examples shows no user: leave --user and --users out")
    if user and users is not None:
        raise InputError("say whom: --user ID, or --users FILE for many")
    from llmrec_peft.page.write import write_page

    wanted = user
    if users is not None:
        from llmrec_peft.workflows.user_files import read_users

        wanted = read_users(users, run)[0]
    target = out or run.resolve().with_name(f"{run.resolve().name}.html")
    page = write_page(run, target, wanted or None, k, not no_examples, overwrite)
    for line in page.notes:
        print_note(line)
    if as_json:
        print_json({"file": str(page.file), "users": page.users, "notes": list(page.notes)})
    else:
        print_line(f"{page.file} is the page of {run}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report", cls=Command, rich_help_panel=USE)(report)
