"""Recommend: the best items of many users, written to a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llmrec_peft.errors import InputError
from llmrec_peft.progress import bar
from llmrec_peft.run.catalogue import Recommendations
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.csv_records import csv_lines
from llmrec_peft.workflows.streams import Unknown, format_of, whole

_AT_ONCE = 1024
"""Users whose recommendations are computed together."""
_ROWS = 65_536
"""Rows that are written at once as Parquet, or somewhat more."""
_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("rank", pa.int32()),
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("score", pa.float64()),
        ("basis", pa.string()),
    ]
)
_COLUMNS = tuple(_SCHEMA.names)


@dataclass
class Asked:
    """Users who were asked for.

    Attributes:
        users: Each of them once, in the order of the file.
        repeated: Further rows of the same users.
        unknown: Those whom the run does not know.
        known: Some whom it knows.
    """

    users: list[str]
    repeated: int = 0
    unknown: list[str] = field(default_factory=list)
    known: tuple[str, ...] = ()

    def notes(self, unknown: Unknown) -> list[str]:
        """Say how many users came several times or are unknown, and what became of them."""
        lines = [f"{self.repeated} rows repeat a user: each is answered once"] if self.repeated else []
        if self.unknown:
            known = ", ".join(f"{user!r:.60}" for user in self.known)
            like = f"; users that it knows are {known}" if len(self.unknown) == len(self.users) else ""
            became = "they get the most popular items" if unknown == "popular" else "they get no answer"
            lines.append(
                f"{len(self.unknown)} of {len(self.users)} users are unknown to the run, such as"
                f" {self.unknown[0]!r:.60}: {became}{like}"
            )
        return lines


def asked_of(recommender: Recommender, users: Sequence[str], repeated: int, unknown: Unknown) -> Asked:
    """Divide users into those whom the run knows and others.

    Raises:
        InputError: For an unknown user, if those are refused.
    """
    index = recommender.vocabulary.user_indices(users)
    strangers = [user for user, number in zip(users, index, strict=True) if number == 0]
    known = tuple(recommender.vocabulary.users[:3])
    if strangers and unknown == "refuse":
        like = ", ".join(f"{user!r:.60}" for user in known)
        raise InputError(f"user {strangers[0]!r:.60} is unknown to the run, which knows {like} and others")
    return Asked(list(users), repeated, strangers, known)


def answers(
    recommender: Recommender, asked: Asked, k: int, seen: bool, unknown: Unknown, show: bool = False
) -> Iterator[Recommendations]:
    """Yield the recommendations of users in order; none for unknown ones if those are skipped."""
    left_out = set(asked.unknown) if unknown == "skip" else set()
    users = [user for user in asked.users if user not in left_out]
    with bar("recommending", len(users), show=show) as moving:
        for at in range(0, len(users), _AT_ONCE):
            some = users[at : at + _AT_ONCE]
            yield from recommender.recommend(some, k=k, seen=seen)
            moving.advance(len(some))


def write_answers(target: Path, overwrite: bool, found: Iterable[Recommendations]) -> int:
    """Write recommendations as CSV or Parquet, one item a row, and return the number of rows.

    Args:
        target: File, by its ending, or ``-`` for CSV on stdout.
        overwrite: Whether to replace a file that exists.
        found: Recommendations.

    Raises:
        InputError: If the file cannot be written.
    """
    form, rows = format_of(target, "csv"), 0
    with whole(target, form, overwrite) as partial:
        if form == "csv":
            with partial.open("w", encoding="utf-8", newline="") as file:
                file.write(csv_lines([_COLUMNS]))
                for answer in found:
                    table = _rows(answer)
                    file.write(csv_lines(table))
                    rows += len(table)
            return rows
        with pq.ParquetWriter(partial, _SCHEMA) as writer:
            some: list[tuple[Any, ...]] = []
            for answer in found:
                some += _rows(answer)
                rows += len(answer.items)
                if len(some) >= _ROWS:
                    writer.write_table(_table(some))
                    some = []
            writer.write_table(_table(some))
    return rows


def _rows(answer: Recommendations) -> list[tuple[Any, ...]]:
    return [
        (answer.user_id, rank, item.item_id, item.title, item.score, answer.basis)
        for rank, item in enumerate(answer.items, start=1)
    ]


def _table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[] for _ in _COLUMNS]
    return pa.table([list(values) for values in columns], schema=_SCHEMA)
