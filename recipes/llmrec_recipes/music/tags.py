"""Tags of artists as text, from people whose listening is not to be predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ArtistTags:
    """What people call artists.

    Attributes:
        of: Tags of each artist, the most frequent first.
        of_listeners: Assignments by people who listened to the artist, which were not counted.
        of_unknown: Assignments to artists that are not known.
    """

    of: dict[str, list[str]]
    of_listeners: int
    of_unknown: int


def artist_tags(
    assignments: Iterable[tuple[str, str, str]],
    texts: dict[str, str],
    artists: Collection[str],
    listened: Collection[tuple[str, str]],
    most: int,
) -> ArtistTags:
    """Return the tags that artists were given most often, by people who are not known to have listened to them.

    Who tags an artist has most likely listened to it: a tag given by a user would tell the text of an artist what that
    user is to be recommended. So whoever listened to an artist has no say in its text, whichever part of the data the
    pair belongs to, and no change of these people's tags changes a text.

    Args:
        assignments: (user, artist, tag) of each assignment.
        texts: Text of each tag; capital letters do not tell tags apart.
        artists: Artists that are known.
        listened: Pairs of user and artist that occur as interactions, in any part.
        most: Most tags of an artist.
    """
    counts: dict[str, Counter[str]] = {}
    whole: Counter[str] = Counter()
    own = unknown = 0
    for user, artist, tag in assignments:
        text = texts[tag].lower()
        if artist not in artists:
            unknown += 1
        elif (user, artist) in listened:
            own += 1
        elif text:
            counts.setdefault(artist, Counter())[text] += 1
            whole[text] += 1
    of = {artist: _ordered(found, whole)[:most] for artist, found in counts.items()}
    return ArtistTags(of, own, unknown)


def _ordered(found: Counter[str], whole: Counter[str]) -> list[str]:
    """Return an artist's tags: those of most people first, of equals the more common tag, then by letters."""
    return sorted(found, key=lambda tag: (-found[tag], -whole[tag], tag))
