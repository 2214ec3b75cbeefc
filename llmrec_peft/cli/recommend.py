"""`llmrec recommend`: the best items of users."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import USE, Command
from llmrec_peft.cli.output import print_json, print_note, print_table
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from llmrec_peft.run.catalogue import Recommendations

_SCORES = {"rating": "predicted", "click": "probability"}
"""Heading of the scores by task; scores of other tasks mean nothing but an order."""


def recommend(
    run: parameters.Run,
    user: Annotated[
        list[str] | None, typer.Option("--user", metavar="ID", help="User id, as in the data; may be repeated.")
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(
            "--users",
            metavar="FILE|-",
            help="Many users: a table (CSV, TSV, JSON lines, Parquet, also compressed) with a column user_id, or called"
            " as in the run's own files; or a text file with one id a line; - for stdin.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", metavar="N", min=1, help="Number of items.")] = 10,
    seen: Annotated[bool, typer.Option("--seen", help="Also recommend items that the user has already seen.")] = False,
    unknown: Annotated[
        parameters.Unknown,
        typer.Option(
            metavar="WHAT",
            help="A user that the run does not know: popular gives the most popular items, skip gives no answer, refuse"
            " ends with an error.",
        ),
    ] = parameters.Unknown.popular,
    target: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE|-", help="CSV or Parquet file to write, by its ending; - for CSV on stdout."
        ),
    ] = None,
    overwrite: parameters.Overwrite = False,
    as_json: parameters.Json = False,
    quiet: parameters.NoBar = False,
) -> None:
    """Recommend the best items to one user or to many.

    An unknown user gets the most popular items, and the answer says so.

    Examples:
      llmrec recommend runs/movies-seed1 --user 1
      llmrec recommend runs/movies-seed1 --user 1 -k 20 --seen --json
      llmrec recommend runs/movies-seed1 --users users.csv --output best.parquet
    """
    if bool(user) == (users is not None):
        raise InputError("say whom: --user ID, or --users FILE for many")
    if user and not all(user):
        raise InputError("--user: the id is empty")
    if as_json and target is not None:
        raise InputError("--json prints on stdout and --output writes a file: give one of them")

    from llmrec_peft import registry
    from llmrec_peft.run.recommender import Recommender
    from llmrec_peft.workflows.recommend import answers, asked_of, write_answers
    from llmrec_peft.workflows.user_files import read_users

    wanted, repeated = (list(dict.fromkeys(user or [])), 0) if users is None else read_users(users, run)
    recommender = Recommender.from_pretrained(run)
    asked = asked_of(recommender, wanted, repeated, unknown.value)
    found = answers(recommender, asked, k, seen, unknown.value, show=not quiet and target is not None)
    if target is not None:
        rows = write_answers(target, overwrite, found)
        print_note(f"{rows} recommendations in {'stdout' if str(target) == '-' else target}")
    elif as_json:
        plain = [answer.plain() for answer in found]
        print_json(plain[0] if len(wanted) == 1 and users is None and plain else plain)
    else:
        task = registry.get("heads", recommender.recipe.head.name).task
        _print(found, _SCORES.get(task, "score"))
    if users is not None or unknown is parameters.Unknown.skip:
        for line in asked.notes(unknown.value):
            print_note(line)


def _print(found: Iterable[Recommendations], score: str) -> None:
    """Print one table a user."""
    for answer in found:
        user = answer.user_id
        personal = answer.basis == "personal"
        title = f"for user {user}" if personal else f"user {user} is unknown: the most popular items"
        rows = [
            [str(rank), item.item_id, item.title, f"{item.score:.2f}"]
            for rank, item in enumerate(answer.items, start=1)
        ]
        print_table(title, ["", "item", "title", score], rows, (0, 3))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("recommend", cls=Command, rich_help_panel=USE)(recommend)
