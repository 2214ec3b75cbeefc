"""The delimiter and the quotation of a text, guessed from a sample."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, cast

from llmrec_peft.printable import quoted
from llmrec_peft.tabular.escapes import without_escapes
from llmrec_peft.tabular.form import SPACES, FileForm
from llmrec_peft.tabular.guess import Guess
from llmrec_peft.tabular.lines import Line
from llmrec_peft.tabular.records import records
from llmrec_peft.tabular.sniff_quotation import Quotation, escape_of, quotation_of

_STRONG = ("\t", "::", "\x01", ";")
"""Rarely part of a cell: the first that gives rows of one length is it."""
_WEAK = (",", "|", "^")
"""Of these, the one that gives more columns."""
_ROWS = 2000
"""Rows that are looked at."""
_ALMOST_ALL, _MOST = 0.98, 0.6
_DECORATED = 0.05
"""Share of lines with a quoted cell above which a file that is not separated by commas has quotation."""
_MOSTLY_WELL = 20
"""How many times more quoted cells have to end with their mark than not, for a file that has both."""
_CODE = re.compile(r"\s*[\w.:@+-]{1,64}\s*")
_NUMBER = re.compile(r"\s*\d{1,20}\s*")
NAMES = {"\t": "a tab", " ": "a blank", SPACES: "one or more blanks", "\x01": "the control character 0x01"}


@dataclass(frozen=True)
class Shape:
    """How long the rows of a text are, given a delimiter and a quotation.

    Attributes:
        delimiter: The delimiter.
        quote: The quotation.
        columns: How many cells most rows have.
        share: Which share of the rows has so many.
        first: Whether the first row is among them.
        least: How many cells every row has at least.
    """

    delimiter: str
    quote: str
    columns: int
    share: float
    first: bool
    least: int


class Layout(NamedTuple):
    """How a line is divided.

    Attributes:
        guesses: Guesses of `delimiter`, `quote`, `escape` and `rest`.
        columns: How many columns there are.
    """

    guesses: dict[str, Guess]
    columns: int


def delimiter_of(text: str, given: dict[str, Any]) -> Layout:
    """Return how the lines of a text are divided.

    Args:
        text: Whole lines.
        given: Fields that are known.
    """
    delimiters = [given["delimiter"]] if "delimiter" in given else [*_STRONG, *_WEAK, _blanks(text)]
    likely = [one for one in delimiters if one == SPACES or one in text]
    escapes = {one: escape_of(text, one, given) for one in likely}
    quotes = {one: _quote_of(text, one, given, escapes[one].value == "backslash") for one in likely}
    shapes = [_shape(text, one, quotes[one].value, escapes[one].value) for one in likely]
    found = _best([shape for shape in shapes if shape.columns > 1])
    rest = _rest(text, shapes, found, given)
    columns = len(given.get("columns") or ())
    if rest is not None:
        least = columns or rest.least
        why = f"split at {_name(rest)}, rows have {least} columns or more, and the first {least - 1} are codes"
        guesses = {
            "delimiter": Guess(rest.delimiter, why, sure=False),
            "quote": Guess("none", "cells that hold delimiters are not quoted"),
            "escape": Guess("none", "cells are not quoted"),
            "rest": Guess(True, f"the last of {least} columns holds delimiters itself", sure=False),
        }
        return Layout(guesses, least)
    no_rest = Guess(False, "nothing says that the last column holds delimiters itself")
    if found is not None:
        share = "every row" if found.share == 1 else f"{found.share:.1%} of the rows"
        why = f"split at {_name(found)}, {share} of the sample has {found.columns} columns"
        delimiter = Guess(found.delimiter, why, sure=found.share >= _ALMOST_ALL)
        one = found.delimiter
        guesses = {"delimiter": delimiter, "quote": quotes[one], "escape": escapes[one], "rest": no_rest}
        return Layout(guesses, columns or found.columns)
    one = delimiters[0] if "delimiter" in given else ","
    alone = Guess(one, "no delimiter gives the rows one length, so there is one column", sure=not quotes)
    quote, escape = quotes.get(one, _unquoted(one, given)), escapes.get(one, escape_of(text, one, given))
    guesses = {"delimiter": alone, "quote": quote, "escape": escape, "rest": no_rest}
    return Layout(guesses, columns or 1)


def _name(shape: Shape) -> str:
    return NAMES.get(shape.delimiter, quoted(shape.delimiter))


def _lines(text: str) -> list[str]:
    """Return the first lines of a text, as the reading tells them apart, without their ends."""
    return [line.rstrip("\r\n") for line in islice(io.StringIO(text, newline=""), _ROWS)]


def _blanks(text: str) -> str:
    """Return which delimiter made of blanks a text may have."""
    lines = _lines(text)
    one = all("  " not in line and line == line.strip(" ") and "\t" not in line for line in lines)
    return " " if one else SPACES


def _quote_of(text: str, delimiter: str, given: dict[str, Any], escaped: bool) -> Guess:
    if "quote" in given or delimiter == SPACES or given.get("rest"):
        return Guess(given.get("quote", "none"), "cells between blanks, or with delimiters, have no quotation")
    if escaped:
        text = without_escapes(text, "\"'")
    double = quotation_of(text, delimiter, '"')
    by_habit = _unquoted(delimiter, given)
    if double.ill:
        return _disputed(text, delimiter, double)
    if double.well and (by_habit.value == '"' or double.needed or double.well > _DECORATED * double.lines):
        return Guess('"', f"quoted cells in the sample: {double.well:,}, and all end with their mark")
    if double.well:
        return Guess("none", f"of {double.lines:,} lines only {double.well:,} have a cell in quotation marks", False)
    single = quotation_of(text, delimiter, "'")
    if single.well > max(1, single.lines // 2) and not single.ill:
        return Guess("'", f"{single.well:,} cells of the sample stand in single quotation marks")
    return by_habit


def _unquoted(delimiter: str, given: dict[str, Any]) -> Guess:
    """Return the quotation of a text without quoted cells, as it is usual with a delimiter."""
    usual = '"' if delimiter in (",", ";") and not given.get("rest") else "none"
    return Guess(usual, "no cell of the sample begins with a quotation mark")


def _disputed(text: str, delimiter: str, found: Quotation) -> Guess:
    """Return whether a text has quotation, some cells of which go on behind their closing mark."""
    without, within = _shape(text, delimiter, "none", "none"), _shape(text, delimiter, '"', "none")
    why = f"cells that begin with a quotation mark and go on behind the next: {found.ill:,}"
    better = within.columns > 1 and within.share > without.share and found.well > found.ill
    if better or found.well > _MOSTLY_WELL * found.ill:
        return Guess('"', f"{why}; {found.well:,} others end with theirs, so these are mistakes", sure=False)
    return Guess("none", why)


def _shape(text: str, delimiter: str, quote: str, escape: str) -> Shape:
    form = FileForm.model_construct(delimiter=delimiter, quote=cast(Any, quote), escape=cast(Any, escape))
    lines = (Line(at, line, None) for at, line in enumerate(io.StringIO(text, newline=""), 1))
    counts = [len(record.cells) for record in islice(records(lines, form), _ROWS) if record.cells]
    if not counts:
        return Shape(delimiter, quote, 0, 0.0, False, 0)
    columns, rows = max(Counter(counts).items(), key=lambda one: (one[1], one[0]))
    return Shape(delimiter, quote, columns, rows / len(counts), counts[0] == columns, min(counts))


def _best(shapes: Sequence[Shape]) -> Shape | None:
    """Return the most likely shape, or None."""
    for least, first in ((1.0, True), (_ALMOST_ALL, True), (_ALMOST_ALL, False), (_MOST, False)):
        likely = {one.delimiter: one for one in shapes if one.share >= least and one.first >= first}
        for delimiter in _STRONG:
            if delimiter in likely:
                return likely[delimiter]
        weak = [likely[delimiter] for delimiter in _WEAK if delimiter in likely]
        if weak:
            return max(weak, key=lambda one: one.columns)
        if likely:
            return next(iter(likely.values()))
    return None


def _rest(text: str, shapes: Sequence[Shape], found: Shape | None, given: dict[str, Any]) -> Shape | None:
    """Return a shape whose last column holds delimiters itself, such as titles with commas; None if there is none."""
    if not given.get("rest", True) or given.get("quote", "none") != "none":
        return None
    if found is not None and (found.share >= _ALMOST_ALL or found.columns != found.least):
        return None
    lines = [line for line in _lines(text) if line.strip()]
    for one in shapes:
        if one.least < 2 or one.delimiter in ("\x01", "^"):  # noqa: PLR2004 - a column of codes, and the rest
            continue
        kind = _NUMBER if one.delimiter in (" ", SPACES) else _CODE
        separator = None if one.delimiter == SPACES else one.delimiter
        cells = [cell for line in lines[1:] or lines for cell in line.split(separator, one.least - 1)[:-1]]
        if sum(kind.fullmatch(cell) is not None for cell in cells) >= _ALMOST_ALL * len(cells):
            return one
    return None
