"""`llmrec recommend`: the best items of a user."""

from __future__ import annotations

from typing import Annotated

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import USE, Command
from llmrec_peft.cli.output import print_json, print_table

_SCORES = {"rating": "predicted", "click": "probability"}
"""Heading of the scores by task; scores of other tasks mean nothing but an order."""


def recommend(
    run: parameters.Run,
    user: Annotated[str, typer.Option("--user", metavar="ID", help="User id, as in the data.")],
    k: Annotated[int, typer.Option("-k", metavar="N", min=1, help="Number of items.")] = 10,
    seen: Annotated[bool, typer.Option("--seen", help="Also recommend items that the user has already seen.")] = False,
    as_json: parameters.Json = False,
) -> None:
    """Recommend the best items to a user.

    An unknown user gets the most popular items, and the answer says so.

    Examples:
      llmrec recommend runs/movies-seed1 --user 1
      llmrec recommend runs/movies-seed1 --user 1 -k 20 --seen --json
    """
    from llmrec_peft import registry
    from llmrec_peft.run.recommender import Recommender

    recommender = Recommender.from_pretrained(run)
    answer = recommender.recommend([user], k=k, seen=seen)[0]
    if as_json:
        print_json(answer.plain())
        return
    personal = answer.basis == "personal"
    title = f"for user {user}" if personal else f"user {user} is unknown: the most popular items"
    rows = [
        [str(rank), item.item_id, item.title, f"{item.score:.2f}"] for rank, item in enumerate(answer.items, start=1)
    ]
    task = registry.get("heads", recommender.recipe.head.name).task
    print_table(title, ["", "item", "title", _SCORES.get(task, "score")], rows, (0, 3))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("recommend", cls=Command, rich_help_panel=USE)(recommend)
