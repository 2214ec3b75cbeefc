"""Guess: what a column was taken for, why, and whether that is unsure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrec_peft.custom.facts import Facts, facts_of
from llmrec_peft.custom.texts import as_texts
from llmrec_peft.custom.wrong_values import odd_rows
from llmrec_peft.errors import InputError
from llmrec_peft.printable import for_terminal, quoted
from llmrec_peft.tabular.form import repeated

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Guess:
    """One guess.

    Attributes:
        table: ``interactions``, ``items``, ``users`` or ``graph``.
        role: What the column is taken for, such as ``user``, or ``left out``.
        column: Its name; None where no column has the role.
        said: The evidence, in one sentence without a full stop.
        unsure: Whether it should be looked at.
    """

    table: str
    role: str
    column: str | None
    said: str
    unsure: bool = False

    def line(self) -> str:
        """Return the guess as one printable line."""
        column = "none" if self.column is None else f"column {quoted(self.column, 60)}"
        return for_terminal(f"{self.table}, {self.role}: {column}: {self.said}")


def _row(row: int) -> str:
    return f"row {row + 1}"


@dataclass(frozen=True)
class Looked:
    """A table that was looked at.

    Attributes:
        called: What messages call it, such as its path.
        table: Its rows.
        facts: What each column shows.
        headed: Whether its columns have names of their own.
        place: Says where a row stands, from its number, from 0.
    """

    called: str
    table: pa.Table
    facts: Mapping[str, Facts]
    headed: bool = True
    place: Callable[[int], str] = _row

    @classmethod
    def at(
        cls, table: pa.Table, called: str, headed: bool = True, few: int = 0, place: Callable[[int], str] = _row
    ) -> Looked:
        """Look at a table.

        Args:
            table: Its rows.
            called: What messages call it.
            headed: Whether its columns have names of their own.
            few: Values of a column of numbers or dates at most that may be neither.
            place: Says where a row stands, from its number, from 0.

        Raises:
            InputError: For a table without rows, without columns, or with two columns of one name.
        """
        names = table.column_names
        if len(names) > MOST_COLUMNS:
            raise InputError(f"{called}: {len(names)} columns; at most {MOST_COLUMNS} are read: leave the others out")
        require_distinct_names(names, called)
        odd = next((name for name in names if _CONTROL.search(name)), None)
        if odd is not None:
            raise InputError(f"{called}: the name of column {quoted(odd, 60)} holds a control character: rename it")
        if len(names) == 0 or len(table) == 0:
            raise InputError(f"{called}: the table has no {'columns' if not names else 'rows'}")
        headed = headed and not all(_NAMELESS.fullmatch(name) for name in names)
        return cls(called, table, facts_of(table, few), headed, place)

    def texts(self, column: str) -> pa.ChunkedArray:
        """Return a column as trimmed texts, as ids are compared."""
        return as_texts(self.table.column(column), missing=False)

    def odd_cell(self, column: str) -> str | None:
        """Return place and text of the first cell that is no number, or no date, where nearly all others are."""
        texts = as_texts(self.table.column(column))
        rows = odd_rows(texts)
        return f"{self.place(int(rows[0]))}, {quoted(texts[rows[0]].as_py(), 60)}," if len(rows) else None

    def require(self, column: str, option: str) -> str:
        """Return a column's name that a user gave.

        Raises:
            InputError: If there is no such column.
        """
        if column not in self.facts:
            raise InputError(f"{option}: {self.called} has no column {quoted(column, 60)}; it has {listed(self.facts)}")
        return column


def require_distinct_names(names: Iterable[str], called: str) -> None:
    """Refuse a table with two columns of one name.

    Raises:
        InputError: Naming them.
    """
    twice = repeated(names)
    if twice is not None:
        raise InputError(f"{called}: two columns are called {quoted(twice, 60)}: rename one of them")


_NAMELESS = re.compile(r"\d+|(?:column|col|f|x|v|c|unnamed:)[ _]?\d+", re.IGNORECASE)
"""Names that libraries make up for columns without one."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
MOST_COLUMNS = 1000
"""Columns of a table at most."""
_LISTED = 12


def listed(names: Iterable[str]) -> str:
    """Return names for a message, the first dozen of them."""
    every = list(names)
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return ", ".join(quoted(name, 40) for name in every[:_LISTED]) + more


def overlap(values: pa.ChunkedArray, ids: pa.ChunkedArray) -> float:
    """Return the share of the distinct values of one column that occur in another one."""
    import pyarrow.compute as pc

    distinct = pc.unique(values).drop_null()
    if len(distinct) == 0:
        return 0.0
    known = pc.is_in(distinct, value_set=pc.unique(ids).drop_null())
    return float(pc.mean(known.cast("float64")).as_py())


def percent(share: float) -> str:
    """Return a share as whole percents that never say 100 or 0 of what is not."""
    rounded = round(100 * share)
    if share < 1.0 and rounded == 100:  # noqa: PLR2004
        return "over 99 %"
    return "under 1 %" if share > 0.0 and rounded == 0 else f"{rounded} %"


Given = Mapping[str, Any]
"""What the user said himself, by the option's name without dashes, such as ``user_column``."""
