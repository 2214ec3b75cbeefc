"""Texts of products and reviews: without markup, lists of them, and titles that are pieces of a web page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

_PAGE_CODE = "getTime("
"""Marks the JavaScript that the crawler stored as the title of some thousand products."""
_BLANKS = r"[\s\v\x{85}\p{Z}]+"
"""What `str.split` takes for blanks, as RE2 writes it."""


def whole_title(text: str) -> str:
    """Return a product's title, or an empty text where the crawler stored a piece of the page instead.

    Such a piece is a broken tag, JavaScript, or the end of a ``<meta content="…" />``. The text before that end is
    the title, unless it begins with a blank: then only the shop's name is left.

    >>> whole_title("Bahco Round File, 6&quot;"), whole_title('Bahco Round File" />'), whole_title(' Magazines" />')
    ('Bahco Round File, 6"', 'Bahco Round File', '')
    """
    from llmrec_peft.plugins import plain_text

    if _PAGE_CODE in text:
        return ""
    kept = text.removesuffix('" />')
    if kept != text and kept.startswith(" "):
        return ""
    return plain_text(kept)


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts without markup, their words joined by single blanks.

    What is missing becomes empty, and a list of texts becomes one text.
    """
    import pyarrow as pa
    from pyarrow import compute, types

    from llmrec_peft.plugins import without_markup

    if types.is_list(column.type):
        return pa.chunked_array([compute.binary_join(text_lists(column), " ")], pa.string())
    texts = without_markup(compute.fill_null(column.cast(pa.string()), ""))
    return compute.utf8_trim_whitespace(compute.replace_substring_regex(texts, _BLANKS, " "))


def text_lists(column: pa.ChunkedArray) -> pa.ListArray:
    """Return lists of plain texts [rows]; a single text is a list of one, and empty entries are left out."""
    import pyarrow as pa
    from pyarrow import compute, types

    if types.is_list(column.type):
        whole = pa.concat_arrays([*column.chunks, pa.array([], column.type)])
        row = np.asarray(compute.list_parent_indices(whole))
        entries = plain(pa.chunked_array([compute.list_flatten(whole)]))
    else:
        row, entries = np.arange(len(column)), plain(column)
    kept = compute.not_equal(entries, "")
    lengths = np.bincount(row[np.asarray(kept)], minlength=len(column))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), entries.filter(kept).combine_chunks())
