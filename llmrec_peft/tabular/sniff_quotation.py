"""Whether the cells of a delimited text stand in quotation marks, guessed from a sample."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmrec_peft.tabular.form import SPACES

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


def _closing(text: str, place: int, quote: str) -> int:
    """Return where the quotation mark stands that closes a cell; below 0 if there is none."""
    while (place := text.find(quote, place)) >= 0 and text.startswith(quote, place + 1):
        place += 2
    return place
