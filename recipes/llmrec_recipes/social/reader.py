"""Reader of FilmTrust and of Last.fm (HetRec 2011): what people rate or listen to, and whom they trust or befriend."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
from pydantic import Field

from llmrec_peft.plugins import InputError, Options, Reader, RecDataset, interactions_table, table
from llmrec_recipes.social.found import Found
from llmrec_recipes.text_files import listed, no_graph

FILMTRUST, LASTFM = "ratings.txt", "user_artists.dat"
FEW = 5
"""Interactions below which reports say that a user rates little."""


class SocialOptions(Options):
    """What is recommended, and how links are held out where it is people."""

    recommend: Literal["items", "people"] = "items"
    """`items`: films or artists, with the links as knowledge about users. `people`: whom to trust or befriend; links
    are the interactions, some of them are held out, and what people met describes them (`data.split: official`)."""
    test_share: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the pairs of people whose links are the test part (`people`)."""
    valid_share: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the other pairs whose links are the validation part (`people`)."""
    seed: int = Field(default=0, ge=0)
    """Seed of the held-out pairs, and of the order of interactions, for which the data have no times."""


class Social(Reader):
    """Ratings of films with trust, or listening with friendships; the folder's files tell which.

    No interaction has a time: their order is drawn at random. Everybody of the network has a row as a user, also those
    who rated nothing.
    """

    summary: ClassVar[str] = "FilmTrust or Last.fm (HetRec): items or people, with who trusts or befriends whom"
    Config: ClassVar[type[Options]] = SocialOptions
    options: Options = SocialOptions()

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read the folder of FilmTrust or of Last.fm."""
        no_graph(graph, "social data (their graph is the network of users)")
        return self._dataset(_found(path))

    def demo(self, seed: int) -> RecDataset:
        """Make up circles of friends who share a taste; see `llmrec_recipes.social.demo`."""
        from llmrec_recipes.social.demo import demo_found

        return self._dataset(demo_found(seed))

    def _dataset(self, found: Found) -> RecDataset:
        options = cast(SocialOptions, self.options)
        if options.recommend == "people":
            from llmrec_recipes.social.people import people_dataset

            return people_dataset(found, options.test_share, options.valid_share, options.seed)
        return _items_dataset(found, options.seed)


def _found(path: Path) -> Found:
    """Read a folder, whose files tell which data set it is.

    Raises:
        InputError: If it is missing, or holds the files of neither or of both.
    """
    there = [name for name in (FILMTRUST, LASTFM) if os.path.lexists(path / name)]
    if there == [FILMTRUST]:
        from llmrec_recipes.social.filmtrust import read_filmtrust

        return read_filmtrust(path)
    if there == [LASTFM]:
        from llmrec_recipes.social.lastfm import read_lastfm

        return read_lastfm(path)
    if not path.is_dir():
        raise InputError(f"no data folder {path}")
    if there:
        raise InputError(f"{path}: the files of FilmTrust and of Last.fm: keep those of one in the folder")
    raise InputError(
        f"{path}: no file {FILMTRUST} (FilmTrust) or {LASTFM} (Last.fm of HetRec 2011)"
        f" (the folder holds {listed(path) or 'nothing'})"
    )


def _items_dataset(found: Found, seed: int) -> RecDataset:
    """Return a dataset that recommends films or artists, with the links between its users."""
    network = found.network
    return RecDataset(
        name=found.name,
        interactions=interactions_table(
            user_id=found.user,
            item_id=found.item,
            rating=found.rating,
            timestamp=np.random.default_rng([seed, 11]).permutation(len(found.rating)),
            kind=_kinds(found),
        ),
        items=table({"item_id": found.items, "title": found.titles}),
        users=table({"user_id": found.people}),
        rating_range=found.rating_range,
        licence=found.licence,
        notes=(*found.notes, *(() if network is None else network.notes)),
        feedback="implicit" if found.implicit else "rating",
        brought_by={"user_links": found.links_file},
        user_links=None if network is None else table({"user_id": network.user, "other_id": network.other}),
    )


def _kinds(found: Found) -> list[str]:
    """Return the group of each interaction's user, for reports: whether he trusts somebody, and rates little."""
    from pyarrow import compute

    codes = np.asarray(found.user.dictionary_encode().indices)
    few = np.bincount(codes)[codes] < FEW
    linked = np.zeros(len(few), bool)
    if found.network is not None:
        linked = np.asarray(compute.is_in(found.user, value_set=compute.unique(found.network.user)))
    names = np.array([["unlinked", "linked"], ["unlinked_and_rates_little", "linked_and_rates_little"]])
    return [str(name) for name in names[few.astype(int), linked.astype(int)]]
