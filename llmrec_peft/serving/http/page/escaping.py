"""Escaping: texts of others as the page shows them, with characters that nobody sees written out."""

from __future__ import annotations

import unicodedata

from markupsafe import Markup, escape

_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Categories of Unicode whose characters are not seen: controls, formats such as directions of reading, halves of
characters, and line ends."""
_JOINERS = "\u200c\u200d"
"""Joiners stay, since scripts and emoji need them."""


def visible(value: object) -> Markup:
    """Return a value for an element or a quoted attribute: escaped, and what is not seen written as its code.

    A title that turns the direction of reading would show another text than it holds.

    >>> visible("<b>Heat</b> \\u202e(1995)")
    Markup('&lt;b&gt;Heat&lt;/b&gt; \\\\u202e(1995)')
    """
    if isinstance(value, Markup):
        return value
    text = str(value)
    return escape(text if text.isprintable() else "".join(map(_written, text)))


def exact(value: object) -> Markup:
    """Return a value for a quoted attribute from which it comes back unchanged, such as that of a hidden field."""
    return escape(str(value))


def _written(character: str) -> str:
    """Return a character, or its code if it is not seen."""
    if unicodedata.category(character) not in _UNSEEN or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode("ascii")
