"""Quotation marks with a backslash before them, as MySQL and Spark write them inside of cells.

A backslash stands for no letter of its own before a mark and before another backslash, and is left out before a line
end; before all else, such as the N of MySQL's ``\\N`` for no value, it is a letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from llmrec_peft.tabular.form import FileForm

BACKSLASH = "\\"
BEFORE_LINE_END = r"\\(\r|\n)"
"""Pattern of a backslash before a line end inside of a cell."""


def is_escaped(form: FileForm) -> bool:
    """Return whether a file has marks with a backslash before them."""
    return form.escape == "backslash"


def parsed_text(text: str, quote: str) -> str:
    """Return a text in which every backslash that is a letter is doubled, as parsers want it.

    >>> parsed_text(r'"a \\"b\\" \\N",C:\\x', '"')
    '"a \\\\"b\\\\" \\\\\\\\N",C:\\\\\\\\x'
    """
    if BACKSLASH not in text:
        return text
    return re.sub(rf"\\([\\{quote}]?)", lambda found: found[0] if found[1] else r"\\", text)


def parsed_blocks(blocks: Iterable[bytes], form: FileForm) -> Iterator[bytes]:
    """Yield blocks of UTF-8 as `parsed_text` does."""
    rest = b""
    for block in blocks:
        whole = rest + block
        end = len(whole) - (len(whole) - len(whole.rstrip(b"\\"))) % 2  # its letter is in the next block
        rest = whole[end:]
        yield parsed_text(whole[:end].decode("utf-8", "surrogateescape"), form.quote).encode("utf-8", "surrogateescape")
    if rest:
        yield rest * 2


def own_cell(cell: str) -> str:
    """Return a parsed cell without backslashes before its line ends."""
    return re.sub(BEFORE_LINE_END, r"\1", cell) if BACKSLASH in cell else cell


def without_escapes(text: str, quote: str) -> str:
    """Return a text of the same length in which marks that a backslash stands before are letters."""
    return re.sub(rf"\\[\\{quote}]", "xx", text)
