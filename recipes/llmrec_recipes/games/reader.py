"""Reader of Steam-200k: games that users bought and played, with the hours of play as confidence."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from llmrec_peft.plugins import Reader, RecDataset, interactions_table, table
from llmrec_recipes.drawn_order import NOTE, drawn_order
from llmrec_recipes.games.library import Library
from llmrec_recipes.text_files import no_graph, required_match

_LICENCE = (
    "Steam Video Games (Steam-200k), published by Tamber on Kaggle: its terms have not been verified here; look at\n"
    "them before you use or pass on the data."
)


class Games(Reader):
    """Games that users bought: label 1 for each pair, and its hours of play as confidence, 0 where nobody played.

    A game is known by its title, which is its id and its text. No times are published: the order is drawn at random.
    """

    summary: ClassVar[str] = "Steam-200k: games bought and played, with the hours of play"

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read ``steam-200k.csv``, packed by gzip (``.gz``) or not."""
        no_graph(graph, "Steam-200k")
        library = Library.read(required_match(path, "steam-200k.csv*"))
        users, games = zip(*library.hours, strict=True)
        counts = {
            "rows that repeat an earlier one, left out": library.repeated,
            "rows of a further play of one user and title, whose hours were added": library.played_again,
        }
        titles = list(dict.fromkeys(games))
        return RecDataset(
            name="Steam-200k",
            interactions=interactions_table(
                user_id=users,
                item_id=games,
                rating=[1.0] * len(games),
                timestamp=drawn_order(len(games)),
                confidence=list(library.hours.values()),
            ),
            items=table({"item_id": titles, "title": titles}),
            users=table({"user_id": list(dict.fromkeys(users))}),
            rating_range=(0, 1),
            licence=_LICENCE,
            notes=(NOTE, *(f"{what}: {count}" for what, count in counts.items() if count)),
            feedback="implicit",
        )

    def demo(self, seed: int) -> RecDataset:
        """Make up games whose titles tell what they are about; see `llmrec_recipes.games.demo`."""
        from llmrec_recipes.games.demo import demo_dataset

        return demo_dataset(seed)
