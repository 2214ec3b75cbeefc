"""Leakage: test examples whose answers can be read from training data, a history or a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.order import among, among_sorted
from llmrec_peft.data.splits import Split
from llmrec_peft.errors import InputError
from llmrec_peft.recipe.sections import LeakKind
from llmrec_peft.unspaced import LETTERS

MIN_HISTORY = 5
"""Shorter histories may be equal for two people by chance."""
MIN_TITLE = 8
"""Shorter titles (in letters) may occur in a text by chance."""
_LETTERS_OF_A_CHARACTER = 3
"""Letters for which a Chinese character counts in the length of a title: few titles of three occur by chance."""
_UNSPACED = re.compile(f"[{LETTERS}]")
_SEEDS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
"""How entries are scrambled before they are summed up."""
_WORDS: dict[LeakKind, str] = {
    "same_pair": "the same user and item are in the data learnt from",
    "reversed_pair": "the same two people, the other way round, are in the data learnt from",
    "same_history": "the same history and item are in the data learnt from",
    "own_item": "the item stands in its own history",
    "same_text": "another item of the same text stands in its history",
    "title_in_text": "the item's title stands in the user's text",
    "late_training": "training goes on after the first test interaction",
}
_TOGETHER = 1 << 18
"""Pairs of text and title that are compared together: what Python holds of them at once."""


@dataclass(frozen=True)
class Leak:
    """One kind of leak and the examples affected.

    Attributes:
        name: What leaks, as `data.allow_leakage` names it.
        part: Part of the affected examples.
        count: Number of affected examples.
        row: The first of them.
    """

    name: LeakKind
    part: str
    count: int
    row: int

    @property
    def kind(self) -> str:
        """What leaks, in words."""
        return _WORDS[self.name]

    def __str__(self) -> str:
        return f"{self.count} {self.part} examples: {self.kind} (first: interaction {self.row})"


def find_leaks(
    interactions: Interactions,
    parts: Split,
    texts: Sequence[str],
    titles: Sequence[str],
    repeats: bool = False,
    in_time: bool = False,
    user_texts: Sequence[str] = (),
) -> list[Leak]:
    """Find examples whose answer is given away.

    Args:
        interactions: All interactions, with histories where they are read.
        parts: Their split.
        texts: Text of each item index, by which items with several ids are recognized; index 0 has none.
        titles: Title of each item index.
        repeats: Whether users interact with items repeatedly, so that a pair in two parts or a target in its own
            history
            is no leak.
        in_time: Whether all training interactions have to be earlier than all test interactions.
        user_texts: Text of each user index; empty if none is read.

    Returns:
        The leaks; empty if there are none.
    """
    leaks: list[Leak] = []
    if not repeats:
        for part, rows, learnt in (
            ("validation", parts.valid, parts.train),
            ("test", parts.test, parts.fit),
        ):
            leaking = rows[_known_pair(interactions, rows, learnt)]
            leaks += _leaks("same_pair", part, leaking)
            leaks += _leaks("reversed_pair", part, rows[_known_reversed(interactions, rows, learnt)])
            if interactions.history is not None:
                leaks += _leaks(
                    "same_history",
                    part,
                    rows[_known_record(interactions, rows, learnt)],
                )
    text_number = _numbered(texts) if interactions.history is not None and not repeats else None
    names, lowered = ([text.casefold() for text in some] if user_texts else [] for some in (titles, user_texts))
    for part, rows in (("training", parts.train), ("validation", parts.valid), ("test", parts.test)):
        if interactions.history is not None and text_number is not None:
            within = rows[interactions.history.holds(interactions.item, text_number, rows)]
            own = interactions.history.holds(interactions.item, None, within)
            leaks += _leaks("own_item", part, within[own]) + _leaks("same_text", part, within[~own])
        if user_texts:
            named = _in_text(interactions, rows, names, lowered)
            leaks += _leaks("title_in_text", part, named)
    if in_time and len(parts.train) and len(parts.test):
        late = parts.train[interactions.timestamp[parts.train] > interactions.timestamp[parts.test].min()]
        leaks += _leaks("late_training", "training", late)
    return leaks


def require_no_leaks(leaks: Sequence[Leak]) -> None:
    """Refuse data with leaks.

    Raises:
        InputError: Naming all leaks.
    """
    if leaks:
        raise InputError(
            f"the data gives answers away: {'; '.join(map(str, leaks))}."
            " Correct the split or the texts, or continue anyway with data.allow_leakage=true, or with the kinds that"
            f" are no leaks in this data: data.allow_leakage=[{', '.join(dict.fromkeys(leak.name for leak in leaks))}]"
        )


def _leaks(name: LeakKind, part: str, rows: NDArray[np.int64]) -> list[Leak]:
    return [Leak(name, part, len(rows), int(rows[0]))] if len(rows) else []


def _known_pair(interactions: Interactions, rows: NDArray[np.int64], learnt: NDArray[np.int64]) -> NDArray[np.bool_]:
    width = int(interactions.item.max(initial=0)) + 1
    known = _pairs(interactions, learnt, width)
    known.sort()
    return among_sorted(_pairs(interactions, rows, width), known)


def _known_reversed(
    interactions: Interactions, rows: NDArray[np.int64], learnt: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return whether the item, as a user, interacted with the user, as an item; false where items are no people."""
    oneself, item = interactions.oneself, interactions.item
    if oneself is None:
        return np.zeros(len(rows), bool)
    width = int(max(item.max(initial=0), oneself.max(initial=0))) + 1
    known = np.sort(item[learnt] * width + oneself[learnt])
    return among_sorted(oneself[rows] * width + item[rows], known)


def _pairs(interactions: Interactions, rows: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return one number for the user and item of some interactions, int64 [r]."""
    pair = interactions.user[rows]
    pair *= width
    pair += interactions.item[rows]
    return pair


def _known_record(interactions: Interactions, rows: NDArray[np.int64], learnt: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether another record has the same item and the same history, long enough to exclude chance.

    The order of entries does not count. A history is known by its length and by two sums over scrambled entries, of 64
    bits each: two that differ are taken for one another once in 10³⁸. All sums are differences of one running sum, so
    that long histories cost as little as short ones.
    """
    known_record, history = np.zeros(len(rows), bool), interactions.history
    if history is None:
        return known_record
    asked = np.flatnonzero(history.lengths[rows] >= MIN_HISTORY)
    others = learnt[history.lengths[learnt] >= MIN_HISTORY]
    for seed in _SEEDS:
        if not len(asked) or not len(others):
            return known_record
        asking, learnt = (_records(interactions, history, some, seed) for some in (rows[asked], others))
        known = among(asking, learnt)
        others = others[among(learnt, asking[known])]
        asked = asked[known]
    known_record[asked] = True
    return known_record


def _records(interactions: Interactions, history: Histories, rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return one number for the item and history of some interactions, int64 [r]."""
    record = history.fingerprints(seed, rows)
    record += interactions.item[rows]
    return record


def _numbered(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return one number for all items of one text, int64 [num_items]; each item without a text has its own."""
    number: dict[str, int] = {}
    same = (number.setdefault(text or f"\0{index}", index) for index, text in enumerate(texts))
    return np.fromiter(same, np.int64, len(texts))


def _in_text(
    interactions: Interactions, rows: NDArray[np.int64], names: Sequence[str], lowered: Sequence[str]
) -> NDArray[np.int64]:
    """Return rows whose item's title, if long enough, occurs in the user's text; both in lower case.

    Users of one text are one user here, and each pair of text and title is compared once.
    """
    same = _numbered(lowered)  # the first user with each user's text
    sizes, room = _lengths(names), _lengths(lowered)
    told = np.fromiter(map(_letters, names), np.int64, len(names))
    item, user = interactions.item[rows], interactions.user[rows]
    fits = (told[item] >= MIN_TITLE) & (sizes[item] <= room[user])
    pairs, place = np.unique(same[user[fits]] * len(names) + item[fits], return_inverse=True)
    leaking = np.zeros(len(pairs), bool)
    for at in range(0, len(pairs), _TOGETHER):
        who, what = (part.tolist() for part in np.divmod(pairs[at : at + _TOGETHER], len(names)))
        leaking[at : at + _TOGETHER] = [names[one] in lowered[text] for text, one in zip(who, what, strict=True)]
    return np.asarray(rows[fits][leaking[place]], np.int64)


def _letters(title: str) -> int:
    """Return how long a title is in letters."""
    return len(title) + (_LETTERS_OF_A_CHARACTER - 1) * len(_UNSPACED.findall(title))


def _lengths(texts: Sequence[str]) -> NDArray[np.int64]:
    return np.fromiter(map(len, texts), np.int64, len(texts))
