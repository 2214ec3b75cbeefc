"""Last.fm of HetRec 2011: who listened to which artists, and who is whose friend."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llmrec_recipes.social.found import Found, Network, last_of_pairs
from llmrec_recipes.social.table_file import TableFile

LISTENED, ARTISTS, FRIENDS = "user_artists.dat", "artists.dat", "user_friends.dat"
_LICENCE = (
    "HetRec 2011 Last.fm 2k: non-commercial research, cite I. Cantador, P. Brusilovsky and T. Kuflik, 2nd Workshop on\n"
    "Information Heterogeneity and Fusion in Recommender Systems, RecSys 2011; data from http://www.lastfm.com."
)


def read_lastfm(path: Path) -> Found:
    """Read the folder: ``user_artists.dat``, ``artists.dat`` and, where it is there, ``user_friends.dat``.

    Raises:
        InputError: Naming file, line and column of what is wrong.
    """
    from pyarrow import compute

    artists = TableFile.headed(path, ARTISTS, ("id", "name"))
    ids = artists.ids("id")
    if len(compute.unique(ids)) < len(ids):
        codes = np.asarray(ids.dictionary_encode().indices)
        first = np.unique(codes, return_index=True)[1]
        artists.refuse(int(np.flatnonzero(first[codes] != np.arange(len(codes)))[0]), "id", "this id is there twice")
    listened = TableFile.headed(path, LISTENED, ("userID", "artistID", "weight"), ("weight",))
    listened.numbers("weight", None, "a number of plays, 1 or more, belongs")
    user, artist = listened.ids("userID"), listened.ids("artistID")
    unknown = compute.index(compute.is_in(artist, value_set=ids), False).as_py()
    if unknown >= 0:
        listened.refuse(unknown, "artistID", f"{artist[unknown].as_py()[:20]!r} is not in {ARTISTS}")
    found = Found(
        name="Last.fm (HetRec 2011)",
        user=user,
        item=artist,
        rating=np.ones(len(user), np.float32),
        items=ids,
        titles=compute.fill_null(artists.table.column("name").combine_chunks(), ""),
        rating_range=(0.0, 1.0),
        implicit=True,
        network=_network(path),
        links_file=FRIENDS,
        licence=_LICENCE,
    )
    return last_of_pairs(found, LISTENED)


def _network(path: Path) -> Network | None:
    """Return who is whose friend; None where the file is absent."""
    if not (path / FRIENDS).exists():
        return None
    friends = TableFile.headed(path, FRIENDS, ("userID", "friendID"))
    return Network.of(FRIENDS, friends.ids("userID"), friends.ids("friendID"), mutual=True)
