"""Markup: HTML entities and tags that exports leave in titles and texts, resolved where a column has any."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_ENTITY = r"&(?:[a-zA-Z]{2,8}|#[0-9]{1,7}|#x[0-9a-fA-F]{1,6});"
_TAG = r"</?(?:br|p|b|i|u|a|em|strong|span|div|ul|ol|li|h[1-6]|img|font|table|tr|td)(?:\s[^<>]*)?/?>"
_TAGS = re.compile(_TAG, re.IGNORECASE)


def without_markup(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts without HTML: entities are resolved, tags become blanks; other texts stay as they are.

    >>> import pyarrow as pa
    >>> without_markup(pa.chunked_array([["Salt &amp; <b>Pepper</b>", "a < b", None]])).to_pylist()
    ['Salt & Pepper', 'a < b', None]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    marked = pc.fill_null(pc.match_substring_regex(texts, f"{_ENTITY}|(?i:{_TAG})"), False)
    if not pc.any(marked).as_py():
        return texts
    cleaned = [_cleaned(text) for text in texts.filter(marked).to_pylist()]
    return pc.replace_with_mask(texts.combine_chunks(), marked.combine_chunks(), pa.array(cleaned, texts.type))


def _cleaned(text: str) -> str:
    plain = text
    for _ in range(2):  # some exports escape twice: &amp;amp;
        plain = html.unescape(plain)
    return " ".join(_TAGS.sub(" ", plain).split())
