"""Persons behind TALLRec's records: which records are windows over the same person's ratings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

SHARED = 8
"""Judged films that two records of one person share at least. A history has ten; a window that moves by one film shares
nine, by two films eight. In the published test part 6, 7 and 8 give the same 16 persons, 9 parts some of them."""


def persons(histories: Sequence[Sequence[tuple[str, float]]]) -> list[int]:
    """Group records by person: those that share `SHARED` films with the same judgement, and what is linked by them.

    The published records name no users. They were cut from each person's ratings in order of time, so that a record's
    history is the one before it, moved on by a film.

    Args:
        histories: For each record, the films of its history and whether they were liked.

    Returns:
        For each record the number of the first record of its person.
    """
    root = list(range(len(histories)))
    records_with: defaultdict[tuple[str, float], list[int]] = defaultdict(list)
    for record, history in enumerate(histories):
        shared: Counter[int] = Counter()
        for judged in set(history):
            shared.update(records_with[judged])
            records_with[judged].append(record)
        for other, count in shared.items():
            if count >= SHARED:
                one, two = sorted((_first(root, other), _first(root, record)))
                root[two] = one
    return [_first(root, record) for record in range(len(histories))]


def _first(root: list[int], record: int) -> int:
    """Return the first record of a record's group, and shorten the way to it."""
    while root[record] != record:
        root[record] = root[root[record]]
        record = root[record]
    return record
