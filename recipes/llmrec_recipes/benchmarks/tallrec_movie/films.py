"""Films of TALLRec's records: quoted titles with the year, which may hold commas and quotation marks."""

from __future__ import annotations

import re

_BETWEEN = re.compile(r'"[\s,]*"')


def listed_films(text: str) -> list[str] | None:
    """Return the titles of a list such as ``"Heat (1995)", "Alien (1979)"``; None if it is none."""
    titles = text[1:-1].split('", "')
    if len(text) < 2 or text[0] + text[-1] != '""' or any(_unfit(title) for title in titles):  # noqa: PLR2004
        return None
    return titles


def asked_film(text: str) -> str | None:
    """Return the title that a record asks about; None if there is none."""
    return text[1:-1] if len(text) > 2 and text[0] + text[-1] == '""' else None  # noqa: PLR2004


def _unfit(title: str) -> bool:
    """Whether a title is empty, or is two titles with an unexpected separator between them."""
    return not title.strip() or _BETWEEN.search(title) is not None
