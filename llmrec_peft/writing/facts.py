"""Facts: evidence as a writer is told it, in a prompt, and as one sentence that needs no writer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrec_peft.heads.explanation import INSTRUCTION
from llmrec_peft.unspaced import pieces

if TYPE_CHECKING:
    from llmrec_peft.explanation.evidence import Evidence, Explanation

MOST = 3
"""Pieces of a kind that a prompt tells."""
ABOUT = 40
"""Words of an item's text that a prompt tells."""
_OPAQUE = re.compile(r"\S*\d\S*")
"""Names of entities that are ids, such as ``m.06n90``: nothing that a sentence could say."""
_LETTERS = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True)
class Facts:
    """What a writer may use.

    Attributes:
        title: Title of the item.
        about: The item's text, as far as it is told.
        liked: Titles of items that the user liked and that spoke for this one.
        words: Words of the item's text that spoke for it.
        paths: Connections in a knowledge graph that spoke for it.
    """

    title: str
    about: str = ""
    liked: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    @property
    def strings(self) -> tuple[str, ...]:
        """Everything that may be named."""
        return (self.title, self.about, *self.liked, *self.words, *self.paths)

    def prompt(self, instruction: str = INSTRUCTION) -> str:
        """The facts as a request to a writer."""
        lines = [instruction, f"Picked: {self.title}"]
        if self.about and self.about != self.title:
            lines.append(f"About it: {self.about}")
        for label, told in (
            ("The reader liked", self.liked),
            ("What speaks for it", self.words),
            ("Connections", self.paths),
        ):
            if told:
                lines.append(f"{label}: {'; '.join(told)}")
        return "\n".join(lines)

    def lead(self) -> str:
        """How an answer begins that a decoder goes on with: without it a small one answers with the request itself."""
        liked = f"You liked {_listed(self.liked[:2])}. " if self.liked else ""
        return f"{liked}We picked {self.title} for you because of its"

    def sentence(self) -> str:
        """The facts as a fixed sentence, which names nothing else."""
        if self.liked:
            return f"“{self.title}” was picked because you liked {_listed([f'“{one}”' for one in self.liked])}."
        if self.words:
            return f"“{self.title}” was picked; in its text, {_listed(list(self.words))} spoke for it."
        if self.paths:
            return f"“{self.title}” was picked; what speaks for it: {'; '.join(self.paths)}."
        return f"“{self.title}” was picked; no single item, word or connection stands out."


def facts_of(explanation: Explanation, text: str = "") -> Facts:
    """The facts of an explanation: evidence that spoke for the item, the weightiest first.

    An item of the history that spoke for this one without having been liked is left out: a sentence would say
    that it had been.

    Args:
        explanation: Evidence.
        text: Text of the item.
    """

    def speaking(found: Sequence[Evidence]) -> list[Evidence]:
        return [one for one in found if one.contribution > 0.0]

    liked = [one for one in speaking(explanation.of("history")) if one.details.get("liked", False)]
    words = [one.what for one in speaking(explanation.of("word")) if _LETTERS.search(one.what)]
    paths = [
        one.what
        for one in speaking(explanation.of("path"))
        if one.details.get("from_titles") and not _OPAQUE.fullmatch(str(one.details.get("entity", "")))
    ]
    return Facts(
        title=explanation.title,
        about=shortened(text),
        liked=tuple(one.what for one in liked[:MOST]),
        words=tuple(dict.fromkeys(words))[:MOST],
        paths=tuple(paths[:MOST]),
    )


def shortened(text: str, words: int = ABOUT) -> str:
    """The first words of a text, or characters where it has no spaces.

    >>> shortened("one two three", 2), shortened("流浪地球", 2)
    ('one two …', '流浪 …')
    """
    told = pieces(" ".join(text.split()))
    return "".join(told[:words]) + (" …" if len(told) > words else "")


def _listed(names: Sequence[Any]) -> str:
    """Names as English lists them.

    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    if len(names) < 2:  # noqa: PLR2004 - one name is no list
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
