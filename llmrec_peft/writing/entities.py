"""Entities: what a text names, and which of that no fact holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)|[。！？]+[”’」』）]*")
_ABBREVIATION = re.compile(r"(?:^|[\s(])(?:[A-Z]|(?:[A-Z]\.)+[A-Z]|Mr|Mrs|Ms|Dr|St|Jr|Sr|vs|etc|Vol|No)$")
"""What a full stop may follow without ending a sentence."""
_QUOTED = re.compile(r"[\"“«]([^\"“”«»]{2,80})[\"”»]|(?<!\w)\*([^*]{2,80})\*(?!\w)")
_YEAR = re.compile(r"(?<!\d)(?:1[89]|20)\d\d(?!\d)s?")
_TOKEN = re.compile(r"(?:[^\W\d_]\.)+(?![^\W\d_]{2})|\b(?:Mr|Mrs|Ms|Dr|St|Jr|Sr)\.|[^\W_]+(?:['’&.-][^\W_]+)*|[^\w\s]")
"""Initials and titles with their full stops, words, and marks."""
_LINKS = frozenset("a an and at by de del der di du for from in la le of on or the to van von with".split())
"""Small words that may stand inside a name."""
_JOINT = re.compile(r"\s+(?:and|or|with|from|by|for)\s+")
"""Where a run of capitals may be several names."""
_COMMON = frozenset(
    (
        "a after again all also although always an and another any are as at based because before being both but by"
        " can come despite do does don't during each enjoy even every everyone experience explore fans featuring"
        " finally first for from full get given great has have he her here his how however i i'm if in indeed instead"
        " is it it's its join just know let let's like liked likewise love loved many maybe meanwhile more moreover"
        " most my never no not now of on once one only or our overall perfect perhaps picked please plus rather read"
        " reader readers recommendation recommended see set she similarly since so some still such that that's the"
        " their then there there's therefore these they they're this those though through thus to together too try"
        " until want was watch we we're well were what when where whether which while who why will with without yes"
        " yet you you'll you're you've your tv dvd cd"
    ).split()
)
"""Words that name nothing although they may be capitalized."""


@dataclass(frozen=True)
class Check:
    """What a text names.

    Attributes:
        entities: Everything that it names, each once, in order.
        unsupported: Those that stand in no fact.
        rate: Share of the latter; None for a text that names nothing.
    """

    entities: tuple[str, ...]
    unsupported: tuple[str, ...]

    @property
    def rate(self) -> float | None:
        """Hallucination rate: unsupported entities among all named ones."""
        return len(self.unsupported) / len(self.entities) if self.entities else None


class Names:
    """Names that a catalogue and a graph know: a text that holds one of them names it, however it is written.

    Names of a single word are left to capitals: half of all films are called by a common word.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._by_first: dict[str, set[tuple[str, ...]]] = {}
        for name in names:
            words = _plain(_without_year(name))
            if len(words) > 1 and not all(word in _COMMON for word in words):
                self._by_first.setdefault(words[0], set()).add(tuple(words))

    def inside(self, text: str) -> list[str]:
        """Names that a text holds, the longest at each place."""
        words = _plain(text)
        found, at = [], 0
        while at < len(words):
            fitting = [name for name in self._by_first.get(words[at], ()) if tuple(words[at : at + len(name)]) == name]
            longest = max(fitting, key=len, default=None)
            if longest is None:
                at += 1
            else:
                found.append(" ".join(longest))
                at += len(longest)
        return found


def check(text: str, facts: Sequence[str], names: Names | None = None, start: int = 0) -> Check:
    """Find what a text names and which of it is not in the facts.

    Named are spans in quotation marks or asterisks, runs of capitalized words (at the start of a sentence only where
    more than a common word is capitalized), years, and known names.

    Args:
        text: What was written.
        facts: What may be named.
        names: Names of the catalogue and the graph.
        start: Where what is looked at begins; what stands before it only tells how a sentence began.

    >>> found = check('You liked “Heat”, so Martin Scorsese fits.', ["Heat (1995)", "Casino (1995)"])
    >>> found.entities, found.unsupported, found.rate
    (('Heat', 'Martin Scorsese'), ('Martin Scorsese',), 0.5)
    """
    found = list(dict.fromkeys(entities(text, names, start)))
    known = [_plain(fact) for fact in facts]
    unsupported = [entity for entity in found if not _supported(entity, known)]
    return Check(tuple(found), tuple(unsupported))


def _supported(entity: str, facts: Sequence[Sequence[str]]) -> bool:
    """Whether facts hold an entity, or each of several that linking words have joined into one."""
    parts = [entity, *([] if len(split := _JOINT.split(entity)) < 2 else split)]  # noqa: PLR2004 - one part is the whole
    held = [any(_holds(fact, _plain(part)) for fact in facts) for part in parts]
    return held[0] or (len(held) > 1 and all(held[1:]))


def entities(text: str, names: Names | None = None, start: int = 0) -> list[str]:
    """Everything that a text names from a place on, in order; a span inside a longer one is not told again."""
    spans: list[tuple[int, int]] = []

    def add(begin: int, end: int) -> None:
        if not any(begin < other_end and other_begin < end for other_begin, other_end in spans):
            spans.append((begin, end))

    for match in _QUOTED.finditer(text):
        group = 1 if match[1] is not None else 2
        add(*match.span(group))
    for begin, end in _capitalized(text):
        add(begin, end)
    for match in _YEAR.finditer(text):
        add(*match.span())
    found = [text[begin:end].strip(" .,;:") for begin, end in sorted(spans) if end > start]
    told = [_plain(entity) for entity in found]
    for name in names.inside(text[start:]) if names is not None else ():
        if not any(_holds(entity, name.split()) for entity in told):
            found.append(name)
    return [entity for entity in found if _plain(entity)]


def sentences(text: str, titles: Sequence[str] = ()) -> list[tuple[int, int]]:
    """Where sentences begin and end.

    An initial, an abbreviation such as Dr. and the marks inside known titles end none.

    Args:
        text: A text in one line.
        titles: Titles that may hold full stops, question marks and the like.

    >>> text = "Dr. No fits. You liked Help! a lot. And"
    >>> [text[begin:end] for begin, end in sentences(text, ["Help!"])]
    ['Dr. No fits.', 'You liked Help! a lot.', 'And']
    """
    masked = text
    for title in sorted(set(titles), key=len, reverse=True):
        if title:
            masked = masked.replace(title, "x" * len(title))
    found, begin = [], 0
    for match in _END.finditer(masked):
        if match[0] == "." and _ABBREVIATION.search(masked[begin : match.start()]):
            continue
        found.append((begin, match.end()))
        begin = match.end() + len(masked[match.end() :]) - len(masked[match.end() :].lstrip())
    return [*found, (begin, len(text))] if begin < len(text) else found


def ends(sentence: str) -> bool:
    """Whether a sentence was brought to its end."""
    return sentence.rstrip("\"'”’)]").endswith((".", "!", "?"))


def _capitalized(text: str) -> list[tuple[int, int]]:
    """Spans of runs of capitalized words, small words inside them, common words at their start left off."""
    tokens = [(match[0], match.start(), match.end()) for match in _TOKEN.finditer(text)]
    spans, at, opens = [], 0, True
    while at < len(tokens):
        word = tokens[at][0]
        if not word[0].isupper():
            opens = word in ".!?:" or (opens and not word[0].isalnum())
            at += 1
            continue
        end = _run_end(tokens, at)
        start = at
        while start < end and tokens[start][0].lower() in _COMMON:
            start += 1
        # a single capitalized word that opens a sentence may be any word
        if start < end and not (opens and start == at and end - start == 1):
            spans.append((tokens[start][1], tokens[end - 1][2]))
        opens = False
        at = end
    return spans


def _run_end(tokens: Sequence[tuple[str, int, int]], at: int) -> int:
    """Where a run of capitalized words ends; linking words and numbers count where a capitalized word follows."""
    end = at + 1
    while end < len(tokens):
        ahead = end
        while ahead < len(tokens) and (tokens[ahead][0] in _LINKS or tokens[ahead][0].isdigit()):
            ahead += 1
        if ahead < len(tokens) and tokens[ahead][0][0].isupper() and ahead - end <= _MOST_LINKS:
            end = ahead + 1
        else:
            break
    return end


_MOST_LINKS = 2
"""Small words in a row that still link two parts of one name."""


def _plain(text: str) -> list[str]:
    """Words without case, punctuation and articles; plurals in ``'s`` without it."""
    words = [re.sub(r"['’]s$", "", match[0].lower()) for match in re.finditer(r"[^\W_]+(?:['’][^\W_]+)*", text)]
    return [word for word in words if word not in ("a", "an", "the")]


def _without_year(title: str) -> str:
    return re.sub(r"\s*\((?:1[89]|20)\d\d\)\s*$", "", title)


def _holds(fact: Sequence[str], entity: Sequence[str]) -> bool:
    """Whether an entity's words stand in a fact, one after the other."""
    if not entity:
        return True
    size = len(entity)
    return any(list(fact[at : at + size]) == list(entity) for at in range(len(fact) - size + 1))
