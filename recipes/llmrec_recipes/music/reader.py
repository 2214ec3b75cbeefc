"""Reader of HetRec 2011's Last.fm: listening counts as confidence, names and tags of artists as texts."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, cast

from pydantic import Field

from llmrec_peft.plugins import Options, Reader, RecDataset, interactions_table, table
from llmrec_recipes.drawn_order import NOTE, drawn_order
from llmrec_recipes.music.hetrec_files import read_artists, read_assignments, read_plays, read_tags
from llmrec_recipes.music.tags import artist_tags
from llmrec_recipes.text_files import no_graph

_LICENCE = (
    "HetRec 2011 Last.fm: non-commercial use. Cite I. Cantador, P. Brusilovsky and T. Kuflik, HetRec 2011, RecSys\n"
    "2011, and Last.fm, http://www.lastfm.com."
)


class MusicOptions(Options):
    """What of Last.fm is read."""

    tags: int = Field(default=6, ge=0, le=100)
    """Most tags of an artist that are read, the most frequent; 0 reads no file of tags. Tags of people who listened to
    the artist are never counted: they would tell whom to recommend it to."""


class Music(Reader):
    """Artists that users listened to: label 1 for each pair, and its number of plays as confidence.

    An artist's text are its name and the tags that it was given most often, by people who are not among its listeners
    here (`llmrec_recipes.music.tags`). No times of listening are published: the order is drawn at random.
    """

    summary: ClassVar[str] = "HetRec 2011 Last.fm: artists listened to, counts of plays, names and tags of artists"
    Config: ClassVar[type[Options]] = MusicOptions
    options: Options = MusicOptions()

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read ``artists.dat``, ``user_artists.dat`` and, for tags, ``tags.dat`` and ``user_taggedartists.dat``."""
        no_graph(graph, "HetRec's Last.fm")
        most = cast(MusicOptions, self.options).tags
        artists = read_artists(path)
        plays = read_plays(path, artists)
        items: dict[str, list[str] | list[list[str]]] = {"item_id": list(artists), "title": list(artists.values())}
        notes = [NOTE]
        if most:
            texts = read_tags(path)
            pairs = set(zip(plays.user, plays.artist, strict=True))
            found = artist_tags(read_assignments(path, texts), texts, artists, pairs, most)
            items["tags"] = [found.of.get(artist, []) for artist in artists]
            counts = {
                "tags that listeners of the artist gave it, not counted": found.of_listeners,
                "tags of artists that artists.dat lacks, left out": found.of_unknown,
                "artists without a tag": sum(artist not in found.of for artist in artists),
            }
            notes += [f"{what}: {count}" for what, count in counts.items() if count]
        return RecDataset(
            name="HetRec 2011 Last.fm",
            interactions=interactions_table(
                user_id=plays.user,
                item_id=plays.artist,
                rating=[1.0] * len(plays.user),
                timestamp=drawn_order(len(plays.user)),
                confidence=plays.count,
            ),
            items=table(items),
            users=table({"user_id": list(dict.fromkeys(plays.user))}),
            rating_range=(0, 1),
            licence=_LICENCE,
            notes=tuple(notes),
            feedback="implicit",
            brought_by={} if most else {"tags": "tags.dat and user_taggedartists.dat, with data.options.tags above 0"},
        )

    def demo(self, seed: int) -> RecDataset:
        """Make up artists whose tags tell who listens to them; see `llmrec_recipes.music.demo`."""
        from llmrec_recipes.music.demo import demo_dataset

        return demo_dataset(seed)
