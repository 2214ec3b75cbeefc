"""`llmrec recommend`: the best items of a user."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli.output import print_json, print_table

_SCORED = {"rating": "predicted", "click": "probability"}
"""What scores of a task are called; those of others have an order alone."""


def recommend(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    user: Annotated[str, typer.Option("--user", help="User id, as in the data.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    seen: Annotated[bool, typer.Option("--seen", help="Let items come up that the user has met.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Recommend items to a user; an unknown user gets the popular ones, and the answer says so."""
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
    print_table(title, ["", "item", "title", _SCORED.get(task, "score")], rows, (0, 3))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("recommend")(recommend)
