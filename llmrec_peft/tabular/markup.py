"""HTML in texts: whether a column holds entities and tags, and the column without them."""

from __future__ import annotations

import html
import re

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as of

from llmrec_peft.printable import quoted
from llmrec_peft.tabular.guess import Guess

_SUSPECTS = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});|<(?:/?[a-zA-Z]|!--)"
"""What a cell has to hold to be looked at by `plain_text`; RE2 and Python read it alike."""
_MARKUP = re.compile(
    r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});"
    r"|</?(?:br|p|div|span|i|b|em|strong|u|a|ul|ol|li|h[1-6]|font|table|tr|td|img|script|style)\b[^<>]*>"
    r"|<[a-z]\w*\s[^<>=]*=[^<>]*\Z",
    re.IGNORECASE,
)
_CODE = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<(?:/?[a-zA-Z]|!--)[^<>]*>")
_BROKEN_TAG = re.compile(r"<[a-zA-Z]\w*\s[^<>=]*=[^<>]*\Z")
_INSIDE_LINES = re.compile(r"</?(?:a|b|i|u|em|strong|font|span|sup|sub)\b", re.IGNORECASE)


def holds_markup(column: pa.ChunkedArray) -> Guess:
    """Return whether texts hold HTML: entities such as ``&amp;``, or tags that pages are written with.

    Args:
        column: Texts, or lists of texts [rows], of a sample.
    """
    examples = [example for text in _texts(column) if (example := _first_markup(text)) is not None]
    if not examples:
        return Guess(False, "no cell of the sample holds HTML")
    return Guess(True, f"{len(examples):,} of {len(column):,} cells hold HTML such as {quoted(examples[0], 40)}")


def _first_markup(text: str) -> str | None:
    """Return the first tag of a page, or the first entity that there is: ``&D;`` in ``R&D;`` is none."""
    found = (one[0] for one in _MARKUP.finditer(text))
    return next((one for one in found if one.startswith("<") or html.unescape(one) != one), None)


def without_markup(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts, or lists of texts, with tags removed, entities resolved, and words joined by single blanks.

    A text without anything that looks like HTML stays as it is, blanks included.
    """
    chunks = [_clean_lists(chunk) if of.is_list(chunk.type) else _clean(chunk) for chunk in column.chunks]
    return pa.chunked_array(chunks, column.type)


def plain_text(text: str) -> str:
    """Remove tags, resolve entities, and join words by single blanks; remove a tag cut off at the end too.

    >>> plain_text('The <i>best</i> of Tom &amp; Jerry,<br />3 < 4')
    'The best of Tom & Jerry, 3 < 4'
    """
    text = _CODE.sub(" ", text)
    text = _BROKEN_TAG.sub(" ", _TAG.sub(_gap, text))
    return " ".join(html.unescape(html.unescape(text)).split())  # some shops escape what was escaped


def _gap(tag: re.Match[str]) -> str:
    """Return what replaces a tag: nothing for one inside a line, such as ``<i>``, a blank for one that ends it."""
    return "" if _INSIDE_LINES.match(tag[0]) else " "


def _texts(column: pa.ChunkedArray) -> list[str]:
    """Return the texts that may hold HTML."""
    texts = []
    for chunk in column.chunks:
        plain = chunk.flatten() if of.is_list(chunk.type) else chunk
        suspects = pc.fill_null(pc.match_substring_regex(plain, _SUSPECTS), False)
        texts += plain.filter(suspects).to_pylist()
    return texts


def _clean(texts: pa.Array) -> pa.Array:
    suspects = pc.fill_null(pc.match_substring_regex(texts, _SUSPECTS), False)
    if not pc.any(suspects).as_py():
        return texts
    cleaned = [plain_text(text) for text in texts.filter(suspects).to_pylist()]
    return pc.replace_with_mask(texts, suspects, pa.array(cleaned, texts.type))


def _clean_lists(lists: pa.Array) -> pa.Array:
    counts = pc.fill_null(pc.list_value_length(lists), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(counts).cast(pa.int32())])
    return pa.ListArray.from_arrays(offsets, _clean(lists.flatten()), type=lists.type, mask=lists.is_null())
