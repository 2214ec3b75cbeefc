"""Words: an item's text as a model's tokens, and the same text without some of its words."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrec_peft.backbone.quiet import quiet_transformers
from llmrec_peft.errors import InputError
from llmrec_peft.unspaced import LETTERS

if TYPE_CHECKING:
    from llmrec_peft.backbone.load import Backbone

_SPACED = rf"(?:(?![{LETTERS}])\w)+"
_WORD = re.compile(rf"[{LETTERS}]|{_SPACED}(?:['’.&/-]{_SPACED})*")
"""A word between spaces, or one character of a script without them."""


@dataclass(frozen=True)
class WordedText:
    """A text, its tokens, and the word that each token belongs to.

    Attributes:
        ids: Token ids as the model reads them, special ones included.
        words: The words that still have tokens after the text was cut, in order.
        word_of: Number of the word that each token belongs to, -1 for punctuation and special tokens.
    """

    ids: tuple[int, ...]
    words: tuple[str, ...]
    word_of: tuple[int, ...]

    def without(self, words: Collection[int]) -> list[int]:
        """Return token ids of the text without some words."""
        return [token for token, word in zip(self.ids, self.word_of, strict=True) if word not in words]


def worded(text: str, backbone: Backbone, max_length: int, prompt: str = "") -> WordedText:
    """Tokenize a text as the encoder does and find its words; those of the model's prompt before it are none.

    Raises:
        InputError: If the model's tokenizer does not return the position of tokens in the text.
    """
    if not getattr(backbone.tokenizer, "is_fast", False):  # those in plain Python return no offsets
        raise InputError(
            f"backbone {backbone.identity.name}: its tokenizer does not say which word a token belongs to, so words"
            " cannot be explained: --words none leaves them out"
        )
    with quiet_transformers():
        found = backbone.tokenizer(prompt + text, truncation=True, max_length=max_length, return_offsets_mapping=True)
    ids, spans = found["input_ids"], found["offset_mapping"]
    matches = list(_WORD.finditer(prompt + text, len(prompt)))
    word_of = [_word_at(start, end, matches) for start, end in spans]
    number = {word: at for at, word in enumerate(sorted(set(word_of) - {-1}))}
    words = tuple(matches[word][0] for word in number)
    if not ids:
        return WordedText((backbone.pad_id,), (), (-1,))
    return WordedText(tuple(ids), words, tuple(number.get(word, -1) for word in word_of))


def _word_at(start: int, end: int, matches: Sequence[re.Match[str]]) -> int:
    """Return the word that shares a character with a span; -1 for none."""
    if end > start:
        for number, match in enumerate(matches):
            if start < match.end() and match.start() < end:
                return number
    return -1
