"""MovieLens' titles: the article in front, the year apart."""

from __future__ import annotations

import re

_YEAR = re.compile(r"\s*\((\d{4})(?:/[IVX]+)?(?:[-\u2013](?:\d{4})?)?\s*\)(?:\s*\(T?V\))?\s*$")
_ARTICLE = re.compile(r"^(?P<rest>.+), (?P<article>The|A|An|Le|La|Les|Il|Los|Das|Der|Die|El)(?P<more>(?: \(.*\))?)$")


def title_and_year(text: str) -> tuple[str, int | None]:
    """Split MovieLens' title into the title with its article in front and the year, of a series its first year.

    >>> title_and_year("Postino, Il (1994)")
    ('Il Postino', 1994)
    >>> title_and_year("Fawlty Towers (1975-1979)")
    ('Fawlty Towers', 1975)
    >>> title_and_year("unknown")
    ('unknown', None)
    """
    found = _YEAR.search(text)
    title = _YEAR.sub("", text).strip()
    moved = _ARTICLE.match(title)
    if moved:
        title = f"{moved['article']} {moved['rest']}{moved['more']}"
    return title, int(found[1]) if found else None
