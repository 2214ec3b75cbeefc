"""Whether the cells of a delimited text stand in quotation marks, guessed from a sample."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmrec_peft.tabular.escapes import without_escapes
from llmrec_peft.tabular.form import SPACES
from llmrec_peft.tabular.guess import Guess

_MOSTLY_WELL = 20
"""How many times more quoted cells have to end with their mark than not, where marks have a backslash before them."""
_MOST_CHARACTERS = 1 << 19
"""Characters that are looked at."""


@dataclass
class Quotation:
    """How often cells of a text are quoted.

    Attributes:
        well: Cells that begin with a quotation mark and end with the next one.
        ill: Cells that begin with one, and go on after the next or have none.
        needed: Cells of the former that hold a delimiter, a line break or a doubled mark.
        lines: Lines of the text.
    """

    well: int = 0
    ill: int = 0
    needed: int = 0
    lines: int = 0


def quotation_of(text: str, delimiter: str, quote: str) -> Quotation:
    """Count the quoted cells of a text that begins at the start of a line.

    >>> quotation_of('1,"a, b"\\n2,"Weird Al" Yankovic\\n', ",", '"')
    Quotation(well=1, ill=1, needed=1, lines=2)
    """
    text = text[:_MOST_CHARACTERS]
    text = text[: text.rfind("\n") + 1] or text
    separator = "[ \\t]+" if delimiter == SPACES else re.escape(delimiter)
    ends = re.compile(rf"{separator}|\r\n|\n|\r|\Z")
    starts = re.compile(rf"(?:\A|(?<=[\r\n])|{separator}){quote}")
    found = Quotation(lines=text.count("\n"))
    place = 0
    while (start := starts.search(text, place)) is not None:
        inside = start.end()
        place = _closing(text, inside, quote)
        if place < 0:
            found.ill += 1
            place = text.find("\n", inside)
            if place < 0:
                break
        elif ends.match(text, place + 1):
            found.well += 1
            cell = text[inside:place]
            found.needed += quote in cell or "\n" in cell or ("\t" if delimiter == SPACES else delimiter) in cell
            place += 1
        else:
            found.ill += 1
            place += 1
    return found


def escape_of(text: str, delimiter: str, given: Mapping[str, Any]) -> Guess:
    """Return how quotation marks inside of quoted cells are written.

    A backslash before a mark is part of the text where the mark ends the cell, as in ``"C:\\"``. Where it stood before
    the marks of a text, cells would go on behind their end unless it is read with them.

    Args:
        text: Whole lines.
        delimiter: What separates cells.
        given: Fields of the form that are known.
    """
    if "escape" in given:
        return Guess(given["escape"], "")
    unquoted = given.get("quote") == "none" or given.get("rest") or len(delimiter) != 1 or not delimiter.isascii()
    for quote in "" if unquoted else given.get("quote", "\"'"):
        if f"\\{quote}" not in text:
            continue
        doubled, escaped = (quotation_of(one, delimiter, quote) for one in (text, without_escapes(text, quote)))
        usual = quote == '"' or "quote" in given or escaped.well > escaped.lines // 2
        if usual and escaped.ill < doubled.ill and escaped.well > _MOSTLY_WELL * escaped.ill:
            return Guess("backslash", f"cells of the sample that go on behind \\{quote}: {doubled.ill:,}")
        if doubled.well:
            return Guess("none", "a backslash before a mark that ends its cell is part of the text")
    return Guess("none", "no mark inside of a quoted cell has a backslash before it")


def _closing(text: str, place: int, quote: str) -> int:
    """Return where the quotation mark stands that closes a cell; below 0 if there is none."""
    while (place := text.find(quote, place)) >= 0 and text.startswith(quote, place + 1):
        place += 2
    return place
