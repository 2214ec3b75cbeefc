"""Scripts that put no space between words: Chinese characters and kana, each of which counts as a word of its own."""

from __future__ import annotations

import re

LETTERS = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters and kana, as the inside of a class of characters in a pattern."""
MARKS = "、，；｜"
"""Full-width marks that divide the entries of a list."""
WORDS_OF_A_LETTER = 2.0 / 3.0
"""How many words a character stands for where lengths are compared: a Chinese word has about one and a half."""
_LETTER = re.compile(f"[{LETTERS}]")
_PIECE = re.compile(rf"\s*(?:[{LETTERS}]|[^\s{LETTERS}]+)")


def is_unspaced(text: str) -> bool:
    """Return whether a text has Chinese characters or kana.

    >>> is_unspaced("流浪地球"), is_unspaced("Café 1999")
    (True, False)
    """
    return _LETTER.search(text) is not None


def pieces(text: str) -> list[str]:
    """Return a text's words and characters in order, each with the space before it; joined they are the text.

    >>> pieces("流浪 Earth two，地")
    ['流', '浪', ' Earth', ' two，', '地']
    """
    return _PIECE.findall(text)
