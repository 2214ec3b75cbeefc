"""Steam-200k's rows as pairs of a user and a game: bought, and played for how many hours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmrec_peft.plugins import InputError
from llmrec_recipes.text_files import csv_rows, number

COLUMNS = ("user", "game", "behavior", "hours", "zero")
LONGEST = 1_000_000.0
"""Most hours of play that are read; there are 8,766 in a year."""
_LONGEST_TITLE = 500
"""Most characters of a title that is read; the longest one published has 88."""


@dataclass(frozen=True)
class Library:
    """Who owns which game.

    Attributes:
        hours: Hours of play of each pair of a user and a game, 0 where it was only bought; in the file's order.
        repeated: Rows that equal an earlier one.
        played_again: Rows of play beyond a pair's first, whose hours were added.
    """

    hours: dict[tuple[str, str], float]
    repeated: int
    played_again: int

    @classmethod
    def read(cls, path: Path) -> Library:
        """Read the file: ``user,"game",purchase,1.0,0`` and ``user,"game",play,HOURS,0``, without a header.

        A title that bears blanks around it is the same game as without them. Two rows of play of one pair with
        different hours are two games of one title; their hours are added up.

        Raises:
            InputError: Naming file, line and column of the mistake.
        """
        hours: dict[tuple[str, str], float] = {}
        seen: set[tuple[str, str, str, str]] = set()
        plays: dict[tuple[str, str], int] = {}
        repeated = 0
        for line, (user, title, behavior, said, zero) in csv_rows(path, COLUMNS, header=False):
            game = title.strip()
            if not (user.isascii() and user.isdigit()):
                raise InputError(f"{path}, line {line}: user {user[:20]!a} is no number of digits")
            if not game or len(game) > _LONGEST_TITLE:
                raise InputError(f"{path}, line {line}: game is {'too long a title' if game else 'empty'}")
            if behavior not in ("purchase", "play"):
                raise InputError(f"{path}, line {line}: behavior {behavior[:20]!a} is neither purchase nor play")
            spent = number(said, path, line, "hours", LONGEST)
            if zero != "0":
                raise InputError(f"{path}, line {line}: the last column is {zero[:20]!a} where 0 belongs")
            row, pair = (user, game, behavior, said), (user, game)
            if row in seen:
                repeated += 1
                continue
            seen.add(row)
            hours.setdefault(pair, 0.0)
            if behavior == "play":
                hours[pair] += spent
                plays[pair] = plays.get(pair, 0) + 1
        if not hours:
            raise InputError(f"{path}: there is no row")
        return cls(hours, repeated, sum(count - 1 for count in plays.values()))
