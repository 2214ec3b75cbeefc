"""Prompts: a user's history and an item, or a history alone, as one text that fits the model's window."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.errors import InputError
from llmrec_peft.unspaced import pieces

Row = Mapping[str, Any]
Rows = Sequence[Row] | Mapping[int, Row]
"""Columns of each item index, or of those that are read."""


@dataclass(frozen=True)
class Written:
    """Prompts, and what was dropped to fit them.

    Attributes:
        texts: One prompt per example.
        shortened: Number of examples that lost history entries.
        dropped: Number of entries that were dropped in all.
        cut: Number of examples of which a text of the item or user itself lost its end.
    """

    texts: list[str]
    shortened: int
    dropped: int
    cut: int = 0


@dataclass(frozen=True)
class _Own:
    """Columns of the examples' own users and items, which may be shortened."""

    users: list[Row]
    items: list[Row] | None


class PromptWriter:
    """Renders a template over `user`, `item` and `history`, and shortens prompts that are too long.

    The oldest entries are dropped first. Where none is left, the longest text of the item or user loses words at its
    end, so that what stands behind it in the prompt, the question above all, is kept.

    `history` is a list of items, oldest first, each with all columns of the items table, ``rating`` (its label)
    and ``liked`` (whether the label is above the middle of the scale).
    """

    def __init__(
        self,
        template: ViewTemplate,
        max_length: int,
        middle: float,
        count: Callable[[list[str]], list[int]],
        wrap: Callable[[str], str] = str,
    ) -> None:
        """Prepare the template.

        Args:
            template: Compiled template.
            max_length: Tokens of a prompt at most.
            middle: Labels above it count as liked.
            count: Token counts of wrapped texts.
            wrap: Adds the model's chat format around a text.
        """
        self._template = template
        self._max_length = max_length
        self._middle = middle
        self._count = count
        self._wrap = wrap

    def write(self, users: Sequence[Row], items: Sequence[Row] | None, histories: Sequence[list[Row]]) -> Written:
        """Write one prompt per example; all lists have equal length.

        Args:
            users: Columns of each example's user.
            items: Columns of each example's item; None for texts of users alone.
            histories: Entries of each example's history, oldest first, as `entries` gives them.

        Raises:
            InputError: If a prompt is too long even without a history and with one word of each text.
        """
        kept = [list(history) for history in histories]
        own = _Own(list(users), None if items is None else list(items))
        texts = [self._render(at, own, kept) for at in range(len(users))]
        lengths = self._count(texts)
        todo = [at for at, length in enumerate(lengths) if length > self._max_length]
        cut: set[int] = set()
        while todo:
            for at in todo:
                over = lengths[at] - self._max_length
                if kept[at]:
                    # estimated from the average length of an entry: the first guess seldom drops too much, never too
                    # little twice
                    share = lengths[at] / (len(kept[at]) + 1)
                    kept[at] = kept[at][max(1, int(over / max(share, 1.0))) :]
                elif self._cut(own, kept, at, over, texts[at]):
                    cut.add(at)
                else:
                    raise InputError(
                        f"a prompt takes {lengths[at]} tokens without any history, over the {self._max_length} of"
                        " max_length: raise it in views, or shorten the template"
                    )
                texts[at] = self._render(at, own, kept)
            for at, length in zip(todo, self._count([texts[at] for at in todo]), strict=True):
                lengths[at] = length
            todo = [at for at in todo if lengths[at] > self._max_length]
        lost = [len(whole) - len(rest) for whole, rest in zip(histories, kept, strict=True)]
        return Written(texts, sum(count > 0 for count in lost), sum(lost), len(cut))

    def _cut(self, own: _Own, kept: list[list[Row]], at: int, over: int, prompt: str) -> bool:
        """Take about `over` tokens of words from the end of the longest text of an example that its prompt tells.

        Returns:
            False where all texts that it tells are one word.
        """
        rows = [rows for rows in (own.items, own.users) if rows is not None]
        texts = [
            (len(pieces(value)), side, name) for side, row in enumerate(rows) for name, value in _texts_of(row[at])
        ]
        for count, side, name in sorted(texts, reverse=True):
            if count <= 1:
                return False
            row = rows[side][at]
            words = pieces(row[name].strip())
            rows[side][at] = {**row, name: words[0]}
            if self._render(at, own, kept) == prompt:  # it does not tell this text, which is not met again
                continue
            tokens = self._count(["".join(words)])[0]
            left = max(1, count - max(1, math.ceil(over * count / max(tokens, 1))))
            rows[side][at] = {**row, name: "".join(words[:left])}
            return True
        return False

    def _render(self, at: int, own: _Own, kept: list[list[Row]]) -> str:
        values: dict[str, Any] = {"user": own.users[at], "history": kept[at]}
        if own.items is not None:
            values["item"] = own.items[at]
        return self._wrap(self._template.render(values, lines=True))

    def entries(self, item: NDArray[np.int64], label: NDArray[np.floating], columns: Rows) -> list[Row]:
        """Return a history in the form that the template reads; items without columns (unknown ones) are left out.

        Args:
            item: Item indices, oldest first.
            label: Their labels.
            columns: Columns of each item index; row 0 is not read.
        """
        return [
            {**columns[index], "rating": float(value), "liked": bool(value > self._middle)}
            for index, value in zip(item.tolist(), label.tolist(), strict=True)
            if index > 0
        ]

    def histories(self, histories: Histories, length: int, columns: Rows) -> list[list[Row]]:
        """Return the newest `length` entries of each history, in the form that the template reads."""
        newest = histories.newest(length)
        return [self.entries(*newest.of(row), columns) for row in range(len(newest))]


def _texts_of(row: Row) -> list[tuple[str, str]]:
    """Name and value of a row's texts, its id apart: that names what is asked about."""
    return [(name, value) for name, value in row.items() if isinstance(value, str) and not name.endswith("_id")]
