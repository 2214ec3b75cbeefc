"""Reader of MovieLens in each of GroupLens' layouts, of Freebase triples about the films, and of texts about them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, cast

from llmrec_peft.plugins import Download, InputError, Options, Reader, RecDataset
from llmrec_recipes.movies import hundred_k
from llmrec_recipes.movies.found import Found
from llmrec_recipes.movies.freebase import read_graph
from llmrec_recipes.text_files import listed

_LICENCE = (
    "MovieLens 100K (c) GroupLens, University of Minnesota. Research use; no redistribution without permission;\n"
    "no commercial use without permission. Cite: F. M. Harper and J. A. Konstan, The MovieLens Datasets: History\n"
    "and Context, ACM TiiS 5(4), 2015, doi:10.1145/2827872."
)
_LICENCE_OF_OTHERS = (
    "MovieLens (c) GroupLens, University of Minnesota. Research use; no commercial use without permission; the\n"
    "README beside the files says whether they may be passed on. Cite: F. M. Harper and J. A. Konstan, The MovieLens\n"
    "Datasets: History and Context, ACM TiiS 5(4), 2015, doi:10.1145/2827872."
)


def _read_dat(path: Path) -> Found:
    from llmrec_recipes.movies.larger import read_dat  # brings Arrow's functions, which a run that answers needs not

    return read_dat(path)


def _read_csv(path: Path) -> Found:
    from llmrec_recipes.movies.larger import read_csv

    return read_csv(path)


_LAYOUTS: dict[tuple[str, ...], Callable[[Path], Found]] = {
    hundred_k.FILES: hundred_k.read_100k,
    ("ratings.dat",): _read_dat,
    ("ratings.csv",): _read_csv,
}
"""What reads a folder that holds one of some files."""

_BROUGHT_BY = {
    **dict.fromkeys(("age", "gender", "occupation"), "u.user (MovieLens-100K) or users.dat (1M), which others lack"),
    "plot": "data.options.reviews=FILE, with movieId and plot",
    "review": "data.options.reviews=FILE, with userId, movieId and review",
}
"""What would bring the columns that a layout lacks."""


class MoviesOptions(Options):
    """Files beside MovieLens' own."""

    reviews: str | None = None
    """A table file below the folder `data.path`, with a header (or JSON lines, or Parquet), of films' texts: a column
    `movieId` (or `imdbId`, `tmdbId`, by `links.csv`) and one called plot, review, overview, text or the like, which
    becomes the items' column `plot`. With a column `userId` too, each text is what this user wrote: the interactions'
    `review`, of which only those of training are learnt from."""


class Movies(Reader):
    """Ratings of films from any MovieLens, film texts, and optionally Freebase triples, plots or reviews.

    The folder's files tell the layout: 100K; 1M or 10M; 20M, 25M, 32M, latest or latest-small. Only 100K has an
    official split; others need ``data.split: temporal`` or another.
    """

    summary: ClassVar[str] = (
        "MovieLens ratings (100K to 32M) with film texts and, optionally, triples, plots or reviews"
    )
    Config: ClassVar[type[Options]] = MoviesOptions
    options: Options = MoviesOptions()
    download: ClassVar[Download | None] = Download(
        url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        md5="0e33842e24a9c977be4e0107933c0723",
        folder="ml-100k",
        sha256={
            "README": "0be24b7f62d9c14ed654236a7d48c3cdf7cd1e78b70a580bd0212e1b69136a34",
            "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
            "u.genre": "9757e0d3e6b298159a80dd48eaf938114690e911e39af97a76949ef1663610bb",
            "u.info": "5b0a40b2e47a729ee6203063f6dcf8790c2e63f5a18663e6ee318a72c5f3c27b",
            "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
            "u.occupation": "94176a530a47df7fe1208410894caf4805dd6b902b1148fb65fb7592b2cc79b2",
            "u.user": "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c",
            "u1.base": "ce253ec86c448b44fb3ba9a30d12dcfc2e9210cbde71efada3730c22e9ac212a",
            "u1.test": "18c6014a4b2c7324f250a63f8904a7b16b2b19f911129e346141507b0cbac950",
        },
        licence=_LICENCE,
    )

    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read the folder of any MovieLens; its files tell which one it is."""
        found = _layout(path)(path)
        films = set(found.items["item_id"])
        linked, others = read_graph(graph, films) if graph else (None, 0)
        notes = list(found.notes)
        if others:
            notes.append(f"links of the graph to films that are not in {found.described_in}, left out: {others}")
        dataset = RecDataset(
            name=found.name,
            interactions=found.interactions,
            items=found.items,
            users=found.users,
            rating_range=found.rating_range,
            graph=linked,
            licence=_LICENCE if found.described_in == "u.item" else _LICENCE_OF_OTHERS,
            notes=tuple(notes),
            brought_by={name: file for name, file in _BROUGHT_BY.items() if name not in found.users.column_names},
        )
        reviews = cast(MoviesOptions, self.options).reviews
        if reviews is None:
            return dataset
        from llmrec_recipes.movies.texts import with_texts

        return with_texts(dataset, path, reviews)

    def demo(self, seed: int) -> RecDataset:
        """Make up films whose descriptions predict who likes them; see `llmrec_recipes.movies.demo`."""
        from llmrec_recipes.movies.demo import demo_dataset

        return demo_dataset(seed)


def _layout(path: Path) -> Callable[[Path], Found]:
    """Return what reads a folder's layout.

    Raises:
        InputError: If the folder is missing, or has the files of no MovieLens or of several.
    """
    found = [files for files in _LAYOUTS if any(os.path.lexists(path / name) for name in files)]
    if len(found) == 1:
        return _LAYOUTS[found[0]]
    if not path.is_dir():
        raise InputError(f"no data folder {path}")
    if found:
        there = " and ".join(next(name for name in files if os.path.lexists(path / name)) for files in found)
        raise InputError(f"{path}: the files of several MovieLens, {there}: keep one in the folder")
    raise InputError(
        f"{path}: no file u.item (MovieLens-100K), ratings.dat (1M, 10M) or ratings.csv (20M, 25M, 32M, latest)"
        f" (the folder holds {listed(path) or 'nothing'})"
    )
